"""What makes int8 agree with float: weight rounding, bias correction, and the graph they work on."""
