"""Transfer methods: one file each, which says what is trained."""

from tinytl.methods import bias, bn_last, full, last, lite_residual, lite_residual_bias
from tinytl.methods.base import Method

METHODS: dict[str, Method] = {
    module.METHOD.name: module.METHOD
    for module in (last, bn_last, bias, lite_residual, lite_residual_bias, full)
}

__all__ = ["METHODS", "Method"]
