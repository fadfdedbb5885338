"""One script a conversion, each run in the environment that has the converter: `python -m … SOURCE… TARGET`."""
