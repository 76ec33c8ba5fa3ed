"""TinyTL-L+B: lite residual modules, all biases, and the classifier.

The last norm's bias inside a module stays frozen: the main branch's bias next to it is trained.
"""

from tinytl.methods.base import Method

METHOD = Method(
    "tinytl-lite_residual+bias",
    "TinyTL-L+B",
    trains=lambda role: (
        (role.lite_residual or role.bias or role.classifier) and not (role.final_norm and role.bias)
    ),
    uses_lite_residual=True,
)
