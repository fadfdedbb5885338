"""The commands of `fireseg-edge`, one file each. Only `edge.cli` imports them."""
