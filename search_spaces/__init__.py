"""Sweep files that come with the package; `tinytl sweep NAME` finds them by name."""
