"""One file per runtime: how it loads the network and runs one frame. Imported in that runtime's environment only.

Each has `PACKAGE`, whose version is reported, and `load(model, threads, precision)`, which returns a `Network` of
`benchmarks.peers.worker`. It may import numpy and the runtime only.
"""
