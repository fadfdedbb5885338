"""The same trained network under other runtimes: how fast, and how well. `make bench-peers`."""
