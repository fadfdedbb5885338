"""The commands of `fireseg-train`, one file each. Only `train.cli` imports them."""
