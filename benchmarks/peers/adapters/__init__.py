"""One file a runtime: how it loads the network and runs one frame. Imported in that runtime's environment alone.

Each has `PACKAGE`, whose version is reported, and `load(model, threads, precision)`, which gives a `Network` of
`benchmarks.peers.worker`. Nothing but numpy and the runtime may be imported here: there is nothing else.
"""
