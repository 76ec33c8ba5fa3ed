"""FT-Full: every parameter."""

from tinytl.methods.base import Method

METHOD = Method("full", "FT-Full", trains=lambda role: True)
