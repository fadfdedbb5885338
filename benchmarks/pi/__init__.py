"""A Raspberry Pi without hardware: the real aarch64 wheels in a real arm64 Debian under QEMU. `make bench-pi`."""
