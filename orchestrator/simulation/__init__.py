"""Sweeps as if they were run: finished trials replayed in virtual time, to compare samplers."""
