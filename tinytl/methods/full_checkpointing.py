"""FT-Full with gradient checkpointing: every parameter, each block recomputed from its input."""

from tinytl.backbones import Network
from tinytl.methods.base import Method
from tinytl.nn.recomputed import recompute


def recompute_blocks(network: Network) -> None:
    """Makes each block keep nothing but its input for the backward pass."""
    for name in network.block_names:
        recompute(network.get_submodule(name))


METHOD = Method(
    "full+checkpointing",
    "FT-Full, checkpointing",
    trains=lambda role: True,
    prepare=recompute_blocks,
    unplanned="it recomputes every block itself; choose method: full with a memory_budget",
)
