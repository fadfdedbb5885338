"""Refine int8 models: GPTQ weight rounding, bias correction, and the graph they work on."""
