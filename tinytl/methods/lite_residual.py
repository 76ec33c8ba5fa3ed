"""TinyTL-L: the lite residual modules, and the classifier."""

from tinytl.methods.base import Method

METHOD = Method(
    "tinytl-lite_residual",
    "TinyTL-L",
    trains=lambda role: role.lite_residual or role.classifier,
    uses_lite_residual=True,
)
