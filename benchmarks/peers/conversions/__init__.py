"""One script per conversion, run in the environment of its converter: `python -m … SOURCE… TARGET`."""
