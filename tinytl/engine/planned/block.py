"""A network as blocks one after another, and the head behind them."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tinytl.backbones import Network
from tinytl.engine.loss import training_loss
from tinytl.engine.planned.branch import Branch
from tinytl.engine.planned.layers import ALL, add_gradient
from tinytl.engine.planned.lite_residual import LiteBranch
from tinytl.engine.planned.slabs import Stage, Tiles
from tinytl.errors import ConfigError
from tinytl.nn.conv import SavingConv2d
from tinytl.nn.lite_residual import WithLiteResidual
from tinytl.nn.norm import FrozenBatchNorm2d


@dataclass
class Kept:
    """What a block keeps between forward and backward, beside its input.

    Attributes:
        of_norm: By the norm behind the projection.
        of_lite_residual: By the lite residual module; nothing where it is to be computed again.
    """

    of_norm: list[Tensor]
    of_lite_residual: list[Tensor]

    @property
    def nbytes(self) -> int:
        """The bytes of all tensors."""
        return sum(tensor.nbytes for tensor in (*self.of_norm, *self.of_lite_residual))

    def zeros(self) -> "Kept":
        """Returns the same with other values, which do not matter."""
        return Kept(*([torch.zeros_like(t) for t in tensors] for tensors in vars(self).values()))


class Block:
    """A main branch, the lite residual module beside it, and the skip connection around both.

    Args:
        branch: The main branch.
        lite_residual: Beside it, if there is one.
        name: The dotted name of its module.
        skip: Whether there is a skip connection.
        before: What comes before the block and needs no gradient.
    """

    def __init__(
        self,
        branch: Branch,
        lite_residual: LiteBranch | None,
        *,
        name: str,
        skip: bool,
        before: nn.Module | None = None,
    ) -> None:
        self.name = name
        self.branch = branch
        self.lite_residual = lite_residual
        self.skip = skip
        self.before = before or nn.Identity()
        self.lite_parameters = lite_residual.parameters if lite_residual else []
        self.parameters = [*branch.parameters, *self.lite_parameters]
        self.weights = *branch.weights, *(lite_residual.weights if lite_residual else ())

    @property
    def is_held(self) -> bool:
        """Whether `held` is in effect."""
        return self.branch.slabs.projection.held is not None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keeps the weights as they are used, for what computes the block again and again."""
        for weight in self.weights:
            weight.hold()
        try:
            yield
        finally:
            for weight in self.weights:
                weight.release()

    def forward(self, input: Tensor, tile_bytes: int, *, keep: bool) -> tuple[Tensor, Kept]:
        """Returns the block's output [N, C', H', W'], and what `backward` needs beside the input.

        Args:
            input: [N, C, H, W].
            tile_bytes: Of the activations that exist at a time.
            keep: Whether the lite residual module keeps something.
        """
        input = self.before(input)
        output, of_norm = self.branch.forward(input, tile_bytes)
        kept = Kept(of_norm, [])
        if self.lite_residual is not None:
            residual, of_lite_residual = self.lite_residual.forward(input, output.shape[2:])
            if keep:
                kept.of_lite_residual = of_lite_residual
            del of_lite_residual
            output.add_(residual)
        return (output.add_(input) if self.skip else output), kept

    def backward(
        self,
        input: Tensor,
        kept: Kept,
        grads: list[Tensor],
        tile_bytes: int,
        *,
        needs_input: bool,
        complete: Callable[[Sequence[nn.Parameter]], None],
    ) -> Tensor | None:
        """Adds the parameters' gradients up, and returns the input's where it is needed.

        Args:
            input: Of `forward`.
            kept: What `forward` returned beside its result, which is taken out.
            grads: The gradient of the result, which is taken out; its memory is used up.
            tile_bytes: Of the activations that exist at a time.
            needs_input: Whether the gradient of the input is needed.
            complete: Called with parameters to whose gradients this call adds no more.
        """
        grad, input = grads.pop(), self.before(input)
        grad_input = None
        if self.lite_residual is not None and (needs_input or self.lite_parameters):
            grad_input = self.lite_residual.backward(
                input, kept.of_lite_residual, grad, needs_input=needs_input
            )
        kept.of_lite_residual.clear()
        complete(self.lite_parameters)
        if needs_input and self.skip:
            grad_input = grad.clone() if grad_input is None else grad_input.add_(grad)
        elif needs_input and grad_input is None:
            grad_input = torch.zeros_like(input)
        self.branch.backward(input, kept.of_norm, grad, grad_input, tile_bytes)
        complete(self.branch.parameters)
        return grad_input


class Head:
    """What comes behind the blocks: a stage of its own, the mean of its map, the classifier.

    Args:
        stage: Convolution, norm, activation.
        dropout: Before the classifier.
        classifier: The last layer.
    """

    def __init__(self, stage: Sequence[Any], dropout: nn.Module, classifier: nn.Linear) -> None:
        self.stage = Stage.of(*stage)
        self.dropout, self.classifier = dropout, classifier
        self.channels: int = stage[0].out_channels
        self.stage_parameters = [p for m in stage for p in m.parameters() if p.requires_grad]
        self.parameters = [*self.stage_parameters, *classifier.parameters()]

    def step(
        self,
        input: Tensor,
        labels: Tensor,
        *,
        label_smoothing: float,
        tile_bytes: int,
        needs_input: bool,
    ) -> tuple[Tensor, Tensor | None]:
        """Adds the parameters' gradients up.

        Args:
            input: What the last block returned, [N, C, H, W].
            labels: Of the images.
            label_smoothing: See `tinytl.engine.loss.training_loss`.
            tile_bytes: Of the activations that exist at a time.
            needs_input: Whether the gradient of the input is needed.

        Returns:
            The loss, a scalar, and the gradient of the input where it is needed.
        """
        tiles = Tiles.of(
            images=len(input),
            channels=self.channels,
            unit=self.stage.norm.per_group,
            channel_bytes=input.shape[2:].numel() * input.element_size(),
            bound=tile_bytes,
        )
        parts = [(b, slab) for b in tiles.batches(len(input)) for slab in tiles.slabs]
        pooled = input.new_empty(len(input), self.channels)
        for images, slab in parts:
            output = self.stage.forward(input[images], slab).output
            torch.mean(output, dim=(2, 3), out=pooled[images, slab])
        backpropagates = needs_input or bool(self.stage_parameters)
        pooled.requires_grad_(backpropagates)
        with torch.enable_grad():
            logits = self.classifier(self.dropout(pooled))
            loss = training_loss(logits, labels, label_smoothing)
        weights = list(self.classifier.parameters())
        grads = torch.autograd.grad(loss, [*weights, pooled] if backpropagates else weights)
        for parameter, grad in zip(weights, grads, strict=False):
            add_gradient(parameter, ALL, grad)
        if not backpropagates:
            return loss.detach(), None
        grad_input = torch.zeros_like(input) if needs_input else None
        of_pixel = grads[-1] / input.shape[2:].numel()
        for images, slab in parts:
            kept = self.stage.forward(input[images], slab)
            grad = of_pixel[images, slab, None, None].expand(kept.output.shape).contiguous()
            grad = self.stage.backward_(grad, kept, slab)
            self.stage.weight.add_gradient(input[images], grad, slab)
            if grad_input is not None:
                self.stage.weight.backward_into_(grad_input[images], grad, slab)
        return loss.detach(), grad_input


# what a streamed block is made of
_PATTERN: tuple[tuple[type[nn.Module], ...], ...] = (
    (SavingConv2d,),
    (nn.GroupNorm, FrozenBatchNorm2d),
    (nn.ReLU, nn.ReLU6),
    (SavingConv2d,),
    (nn.GroupNorm, FrozenBatchNorm2d),
    (nn.ReLU, nn.ReLU6),
    (SavingConv2d,),
    (nn.GroupNorm, FrozenBatchNorm2d),
)
_STAGE = 3


def blocks_of(network: Network) -> tuple[list[Block], Head]:
    """Returns the blocks of a network, the stem being part of the first, and its head.

    Args:
        network: Converted by `tinytl.engine.convert`, with its trained parameters marked.

    Raises:
        ConfigError: If the network is not one of inverted bottlenecks that can be streamed.
    """
    if not network.sequence:
        raise _not_streamed("its blocks do not stand one after another")
    mains = {point.path.rpartition(".")[0]: point.path for point in network.insertion_points}
    blocks: list[Block] = []
    waiting: list[nn.Module] = []
    for name in network.sequence:
        main = network.get_submodule(mains.get(name, name))
        lite_residual = None
        if isinstance(main, WithLiteResidual):
            inserted = main
            main, lite_residual = inserted.main, LiteBranch(inserted.lite_residual)
        waiting += _layers(main)
        if len(waiting) < len(_PATTERN):
            continue
        _check(name, waiting, _PATTERN)
        skip, before = name in network.residual_blocks, None if blocks else network.normalization
        branch = Branch(waiting)
        blocks.append(Block(branch, lite_residual, name=name, skip=skip, before=before))
        waiting = []
    _check("what follows the last block", waiting, _PATTERN[:_STAGE])
    return blocks, Head(waiting, network.dropout, network.classifier)


def _layers(module: nn.Module) -> list[nn.Module]:
    """Returns the layers inside, in the order of definition."""
    inside = [m for m in module.modules() if next(m.children(), None) is None]
    return [m for m in inside if not isinstance(m, nn.Identity)]


def _check(name: str, layers: list[nn.Module], pattern: Sequence[tuple[type, ...]]) -> None:
    fits = len(layers) == len(pattern) and all(map(isinstance, layers, pattern))
    if not fits:
        found = ", ".join(type(layer).__name__ for layer in layers)
        raise _not_streamed(f"{name} is made of {found}")
    first, *others = (layer for layer in layers if isinstance(layer, SavingConv2d))
    groups = [layer.groups for layer in others[:1]]
    if first.groups > 1 or any(count != others[0].in_channels for count in groups):
        raise _not_streamed(f"{name} has no depthwise convolution between two others")


def _not_streamed(reason: str) -> ConfigError:
    return ConfigError(
        "execution: planned needs a backbone of convolutions, norms and ReLUs in inverted "
        f"bottlenecks, but {reason}; choose saving"
    )
