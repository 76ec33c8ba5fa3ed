"""FT-Last: only the classifier is trained; no gradient enters the backbone."""

from tinytl.methods.base import Method

METHOD = Method("last", "FT-Last", trains=lambda role: role.classifier)
