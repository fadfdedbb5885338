"""The camera loop under load and under faults: its cost, its growth over time, its recovery. `make soak`."""
