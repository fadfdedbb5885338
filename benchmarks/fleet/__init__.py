"""Many simulated cameras on one broker and one Prometheus, which are killed meanwhile. `make soak-fleet`."""
