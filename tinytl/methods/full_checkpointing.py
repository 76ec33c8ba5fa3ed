"""FT-Full with gradient checkpointing: every parameter, each block recomputed from its input."""

from torch import nn

from tinytl.backbones import Network
from tinytl.config import SparseUpdateConfig
from tinytl.methods.base import Method
from tinytl.nn.recomputed import recompute


def recompute_blocks(network: Network, config: SparseUpdateConfig) -> tuple[nn.Parameter, ...]:
    """Makes each block keep nothing but its input for the backward pass."""
    for name in network.block_names:
        recompute(network.get_submodule(name))
    return ()


METHOD = Method(
    "full+checkpointing",
    "FT-Full, checkpointing",
    trains=lambda role: True,
    prepare=recompute_blocks,
    unplanned="it recomputes every block itself; choose method: full with a memory_budget",
)
