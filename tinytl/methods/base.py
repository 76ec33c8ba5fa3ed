"""What a transfer method is: which parameters of a network it trains."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from torch import nn

from tinytl.backbones import Network
from tinytl.config import SparseUpdateConfig, TrainLast
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
        last_convolution: It belongs to the last convolution before the classifier, or its norm.
        chosen: The method's `prepare` chose it.
    """

    classifier: bool
    lite_residual: bool
    norm: bool
    bias: bool
    final_norm: bool
    last_convolution: bool
    chosen: bool


@dataclass(frozen=True)
class Method:
    """A transfer method.

    Attributes:
        name: The name in configurations (the reference's, where it has the method).
        label: The name in tables (the paper's, where it has the method).
        trains: Whether a parameter of this role is trained.
        uses_lite_residual: Whether the method inserts lite residual modules.
        uses_sparse_update: Whether the section `sparse_update` of a configuration belongs to it.
        prepare: Changes how the network computes, before its parameters are marked; returns those
            that have the role `chosen`.
        unplanned: Why execution planned does not take the method, and what to choose instead; empty
            where it does.
    """

    name: str
    label: str
    trains: Callable[[Role], bool]
    uses_lite_residual: bool = False
    uses_sparse_update: bool = False
    prepare: Callable[[Network, SparseUpdateConfig], Iterable[nn.Parameter]] | None = None
    unplanned: str = ""

    def apply(
        self,
        network: Network,
        train_last: TrainLast = 1,
        sparse_update: SparseUpdateConfig | None = None,
    ) -> None:
        """Marks the parameters to be trained, and freezes all others.

        Args:
            network: To be trained, with its weights; by one method, for some change its layers.
            train_last: 2 trains the last convolution before the classifier and its norm whatever
                the method says (the rows with a dagger in table 3 of the paper).
            sparse_update: For the method of this name; None takes the defaults.

        Raises:
            ConfigError: If the network has fewer blocks than are to be updated.
        """
        chosen: Iterable[nn.Parameter] = ()
        if self.prepare is not None:
            chosen = self.prepare(network, sparse_update or SparseUpdateConfig())
        for role, parameter in roles(network, chosen):
            last = train_last == 2 and role.last_convolution
            parameter.requires_grad_(last or self.trains(role))


def roles(network: Network, chosen: Iterable[nn.Parameter]) -> Iterator[tuple[Role, nn.Parameter]]:
    """Yields each parameter of the network with what it is, of which some are chosen already."""
    chosen_ids = {id(p) for p in chosen}
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
                    last_convolution=module in network.last_convolution,
                    chosen=id(parameter) in chosen_ids,
                ),
                parameter,
            )
