"""Classifiers of a maintained library, turned into networks that declare what methods need.

The library's modules and parameter names stay as they are below `body`, so that its weights load;
norm layers become those asked for, and the last linear layer becomes `classifier`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor, nn

from tinytl.backbones.base import InsertionPoint, Network
from tinytl.config import Norm
from tinytl.nn.conv import WSConv2d
from tinytl.nn.norm import FrozenBatchNorm2d, group_norm


@dataclass(frozen=True)
class Layout:
    """Where things are in a library's network, by the names that they have there.

    Attributes:
        head: The last linear layer.
        points: Where lite residual modules can go, in the order of execution.
        block_names: All blocks, in the order of execution.
        residual_blocks: Of these, the ones that hold their input for a skip connection.
        ends_in_branches: Whether convolutions side by side come last before the head.
        own_name: The body's name for one of the library's, where they differ; None is what the
            body lacks.
        sequence: See `tinytl.backbones.base.Network`.
    """

    head: str
    points: tuple[InsertionPoint, ...]
    block_names: tuple[str, ...]
    residual_blocks: tuple[str, ...]
    ends_in_branches: bool = False
    own_name: Callable[[str], str | None] = str
    sequence: tuple[str, ...] = ()


class AdaptedNetwork(Network):
    """A library's classifier behind one linear layer.

    Args:
        body: The library's network, with BatchNorm.
        layout: Of the body.
        norm: Normalization layers to use.
        classes: Outputs of the classifier.
        dropout: Probability, before the classifier; the library's own is removed.
    """

    def __init__(
        self, body: nn.Module, layout: Layout, norm: Norm, classes: int, dropout: float
    ) -> None:
        super().__init__()
        last = body.get_submodule(layout.head)
        if not isinstance(last, nn.Linear):
            raise TypeError(f"the head {layout.head} is a {type(last).__name__}, not linear")
        body.set_submodule(layout.head, nn.Identity())
        for name, module in list(body.named_modules()):
            if isinstance(module, nn.Dropout):
                body.set_submodule(name, nn.Identity())
        _use_norm(body, norm)
        self.body = body
        self.layout = layout
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(last.in_features, classes)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)
        self.insertion_points = tuple(replace(p, path=f"body.{p.path}") for p in layout.points)
        self.block_names = tuple(f"body.{name}" for name in layout.block_names)
        self.residual_blocks = tuple(f"body.{name}" for name in layout.residual_blocks)
        self.sequence = tuple(f"body.{name}" for name in layout.sequence)
        self.last_convolution = () if layout.ends_in_branches else _last_convolution(body)

    def forward(self, input: Tensor) -> Tensor:
        """Returns the logits [N, classes] of images [N, 3, H, W]."""
        return self.classifier(self.dropout(self.body(self.normalization(input))))

    def own_name(self, name: str) -> str | None:
        """Returns the name for one of the library's."""
        if name.startswith("body.") or name in ("classifier.weight", "classifier.bias"):
            return name
        if name.startswith(f"{self.layout.head}."):
            return f"classifier{name.removeprefix(self.layout.head)}"
        inside = self.layout.own_name(name)
        return inside and f"body.{inside}"


def branch_point(path: str, stage: int, main: nn.Module) -> InsertionPoint:
    """Returns the point beside a main branch of convolutions one after the other."""
    chain = [m for m in main.modules() if isinstance(m, nn.Conv2d) and m.bias is None]
    stride = math.prod(convolution.stride[0] for convolution in chain)
    return InsertionPoint(path, stage, chain[0].in_channels, chain[-1].out_channels, stride)


def _last_convolution(body: nn.Module) -> tuple[nn.Module, nn.Module]:
    """Returns the last norm, in the order of definition, and the convolution before it.

    Some networks end in a convolution behind the pooling that has no norm; it is not meant.
    """
    modules = list(reversed(list(body.modules())))
    last = next(i for i, m in enumerate(modules) if isinstance(m, (nn.BatchNorm2d, nn.GroupNorm)))
    convolution = next(m for m in modules[last:] if isinstance(m, nn.Conv2d))
    return convolution, modules[last]


def _use_norm(body: nn.Module, norm: Norm) -> None:
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
