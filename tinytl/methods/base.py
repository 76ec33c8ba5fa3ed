"""What a transfer method is: which parameters of a network it trains."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import nn

from tinytl.backbones import Network
from tinytl.nn.lite_residual import WithLiteResidual

NORMS = (nn.GroupNorm, nn.BatchNorm2d)


@dataclass(frozen=True)
class Role:
    """What a parameter is to its network.

    Attributes:
        classifier: It belongs to the last layer.
        lite_residual: It belongs to a lite residual module.
        norm: It belongs to a normalization layer.
        bias: It is added, not multiplied.
        final_norm: It belongs to the last norm of a lite residual module.
    """

    classifier: bool
    lite_residual: bool
    norm: bool
    bias: bool
    final_norm: bool


@dataclass(frozen=True)
class Method:
    """A transfer method.

    Attributes:
        name: The name in configurations (the reference's).
        label: The name in the paper's tables.
        trains: Whether a parameter of this role is trained.
        uses_lite_residual: Whether the method inserts lite residual modules.
    """

    name: str
    label: str
    trains: Callable[[Role], bool]
    uses_lite_residual: bool = False

    def apply(self, network: Network) -> None:
        """Marks the parameters to be trained, and freezes all others."""
        for role, parameter in roles(network):
            parameter.requires_grad_(self.trains(role))


def roles(network: Network) -> Iterator[tuple[Role, nn.Parameter]]:
    """Yields each parameter of the network with what it is."""
    modules = [m for m in network.modules() if isinstance(m, WithLiteResidual)]
    inside = {id(p) for m in modules for p in m.lite_residual.parameters()}
    final = {id(p) for m in modules for p in m.lite_residual.final_norm.parameters()}
    for module in network.modules():
        for name, parameter in module.named_parameters(recurse=False):
            yield (
                Role(
                    classifier=module is network.classifier,
                    lite_residual=id(parameter) in inside,
                    norm=isinstance(module, NORMS),
                    bias=name == "bias",
                    final_norm=id(parameter) in final,
                ),
                parameter,
            )
