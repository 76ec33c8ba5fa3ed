"""FT-Norm+Last: scales and biases of all norm layers, and the classifier."""

from tinytl.methods.base import Method

METHOD = Method("bn+last", "FT-Norm+Last", trains=lambda role: role.norm or role.classifier)
