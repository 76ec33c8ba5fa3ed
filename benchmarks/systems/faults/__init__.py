"""Faults: what a sweep loses when processes, nodes, disks and servers die. Nothing."""
