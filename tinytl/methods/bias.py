"""TinyTL-B: all biases, and the classifier; no activation is kept for a weight's gradient."""

from tinytl.methods.base import Method

METHOD = Method("tinytl-bias", "TinyTL-B", trains=lambda role: role.bias or role.classifier)
