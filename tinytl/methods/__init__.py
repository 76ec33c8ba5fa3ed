"""Transfer methods: one file each, which says what is trained."""

from tinytl.errors import ConfigError, unknown_name
from tinytl.methods import (
    bias,
    bn_last,
    full,
    full_checkpointing,
    last,
    lite_residual,
    lite_residual_bias,
    sparse_update,
)
from tinytl.methods.base import Method

_OF_THE_PAPER = (last, bn_last, bias, lite_residual, lite_residual_bias, full)
METHODS: dict[str, Method] = {
    module.METHOD.name: module.METHOD
    for module in (*_OF_THE_PAPER, full_checkpointing, sparse_update)
}
# those that the paper's tables have
PAPER_METHODS = tuple(module.METHOD.name for module in _OF_THE_PAPER)


def find_method(name: str) -> Method:
    """Returns the method of a configuration.

    Raises:
        ConfigError: If there is none by that name.
    """
    if name not in METHODS:
        raise ConfigError(unknown_name("method", name, METHODS))
    return METHODS[name]


__all__ = ["METHODS", "PAPER_METHODS", "Method", "find_method"]
