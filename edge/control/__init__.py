"""What people ask of a run while it runs: actions, and the parts that carry them out."""
