"""Sub-commands of `tinytl`, one file each."""
