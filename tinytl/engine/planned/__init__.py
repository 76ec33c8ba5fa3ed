"""Execution `planned`: the same gradients in a fraction of the memory, by recomputing in parts."""
