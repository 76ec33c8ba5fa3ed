"""Classifiers of a maintained library, turned into networks that declare what methods need.

The library's modules and parameter names stay as they are below `body`, so that its weights load;
norm layers become those asked for, and the last linear layer becomes `classifier`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from torch import Tensor, nn

from tinytl.backbones.base import InsertionPoint, Network
from tinytl.config import Norm
from tinytl.nn.conv import WSConv2d
from tinytl.nn.norm import FrozenBatchNorm2d, group_norm


@dataclass(frozen=True)
class Branch:
    """A block's main branch.

    Attributes:
        block: Dotted name of the block in the library's network.
        main: Dotted name of the main branch.
        skip: Whether the block adds its input to the main branch's output.
        expands: Whether modules can go beside it; a block without expansion gets none.
    """

    block: str
    main: str
    skip: bool
    expands: bool


class AdaptedNetwork(Network):
    """A library's classifier behind one linear layer.

    Args:
        body: The library's network, with BatchNorm.
        head: Dotted name of its last linear layer.
        branches: The main branches of its blocks, in the order of execution.
        norm: Normalization layers to use.
        classes: Outputs of the classifier.
        dropout: Probability, before the classifier; the library's own is removed.
    """

    def __init__(
        self,
        body: nn.Module,
        head: str,
        branches: Iterable[Branch],
        norm: Norm,
        classes: int,
        dropout: float,
    ) -> None:
        super().__init__()
        branches = tuple(branches)
        last = body.get_submodule(head)
        if not isinstance(last, nn.Linear):
            raise TypeError(f"the head {head} is a {type(last).__name__}, not a linear layer")
        body.set_submodule(head, nn.Identity())
        for name, module in list(body.named_modules()):
            if isinstance(module, nn.Dropout):
                body.set_submodule(name, nn.Identity())
        use_norm(body, norm)
        self.body = body
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(last.in_features, classes)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)
        self.insertion_points = tuple(_insertion_points(body, branches))
        self.residual_blocks = tuple(f"body.{b.block}" for b in branches if b.skip)

    def forward(self, input: Tensor) -> Tensor:
        """Returns the logits [N, classes] of images [N, 3, H, W]."""
        return self.classifier(self.dropout(self.body(input)))


def inverted_residuals(
    body: nn.Module, block: type[nn.Module], main: str, skip: str
) -> Iterator[Branch]:
    """Yields the main branches of the blocks of a type.

    Args:
        body: The library's network.
        block: Type of its blocks.
        main: Name of the main branch in a block.
        skip: Name of the attribute that says whether a block has a skip connection.
    """
    for name, module in body.named_modules():
        if isinstance(module, block):
            first = next(convolutions(module))
            yield Branch(name, f"{name}.{main}", getattr(module, skip), first.groups == 1)


def use_norm(body: nn.Module, norm: Norm) -> None:
    """Replaces BatchNorm, and with `gn_ws` the convolutions before it, in place.

    A convolution is followed by a norm exactly where it has no bias.
    """
    for name, module in list(body.named_modules()):
        if isinstance(module, nn.BatchNorm2d):
            if norm == "bn_frozen":
                module.__class__ = FrozenBatchNorm2d
            else:
                body.set_submodule(name, group_norm(module.num_features, module.eps))
        elif type(module) is nn.Conv2d and module.bias is None and norm == "gn_ws":
            module.__class__ = WSConv2d


def convolutions(module: nn.Module) -> Iterator[nn.Conv2d]:
    """Yields the convolutions that a norm follows; those that squeeze and excite have a bias."""
    return (m for m in module.modules() if isinstance(m, nn.Conv2d) and m.bias is None)


def _insertion_points(body: nn.Module, branches: Iterable[Branch]) -> Iterator[InsertionPoint]:
    """Yields where modules can go; a stage starts at each block without a skip connection."""
    stage = -1
    for branch in branches:
        if not branch.expands:
            continue
        stage += not branch.skip
        path = list(convolutions(body.get_submodule(branch.main)))
        stride = 1
        for convolution in path:
            stride *= convolution.stride[0]
        yield InsertionPoint(
            f"body.{branch.main}", stage, path[0].in_channels, path[-1].out_channels, stride
        )
