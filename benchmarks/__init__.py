"""Checks against the paper and measurements against peers."""
