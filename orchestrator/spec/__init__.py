"""The sweep file: where it is found, what its forms mean, and every error of it at once."""

from orchestrator.spec.sweep import SweepSpec, load_spec

__all__ = ["SweepSpec", "load_spec"]
