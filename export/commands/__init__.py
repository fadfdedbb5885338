"""The commands of `fireseg-export`, one file each. Only `export.cli` imports them."""
