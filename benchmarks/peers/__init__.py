"""The shipped network under other runtimes: latency and accuracy, interleaved. `make bench-peers`."""
