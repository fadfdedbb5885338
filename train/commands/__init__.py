"""The commands of `fireseg-train`. Only `train.cli` imports them, except for `options`."""
