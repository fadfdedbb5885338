"""Actions on a running camera, such as a snooze or a fire drill, and the parts that carry them out."""
