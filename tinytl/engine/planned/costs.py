"""What blocks cost by themselves: bytes as measured, and work as counted."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from itertools import chain
from typing import Literal

import torch
from torch import Tensor, nn

from tinytl.engine.planned.block import Block, Head, Kept
from tinytl.engine.planned.memo import Memo
from tinytl.memory.measured import inference_bytes

# Work is counted in products of a main branch's forward pass, about 27 million of which two cores
# do in a millisecond. In these products, as it was measured: what a backward pass takes over the
# forward pass of the same branch, what a product of a lite residual module takes, and what a
# weight that is made from what is stored, a tile, and calls of operators in a forward pass and in a
# backward pass, cost beside them.
_BACKWARD = 1.7
_LITE = 4
_WEIGHT = 250
_TILE = 800_000
_FORWARD_CALLS, _BACKWARD_CALLS = 10_000_000, 30_000_000

MEMO = Memo()
"""Bytes of blocks that were measured before: trials of a sweep have many in common."""


@dataclass(frozen=True)
class Shape:
    """Channels, height and width, and the type of the elements."""

    sizes: tuple[int, ...]
    dtype: torch.dtype

    def bytes(self, images: int) -> int:
        """Returns the bytes of so many images."""
        return images * torch.Size(self.sizes).numel() * self.dtype.itemsize


@dataclass(frozen=True)
class How:
    """How a block is computed.

    Attributes:
        images: At a time.
        tile_bytes: Of the activations that exist at a time.
        gradients: Of the block's parameters, in a backward pass: `dropped` when they are complete;
            with a part of the batch `made` by its first images, and `added` to by the others.
        held: Whether weights are held as they are used.
        keeps_lite_residual: See `tinytl.engine.planned.plan.Plan`; a forward pass that keeps
            nothing else does not.
    """

    images: int
    tile_bytes: int
    held: bool
    keeps_lite_residual: bool
    gradients: Literal["dropped", "made", "added"] = "dropped"


class Costs:
    """The blocks of a network for one resolution, each measured by itself when it is asked for.

    Args:
        blocks: Of the network.
        head: Behind them.
        images: [1, 3, H, W], on the network's device, of the type that batches have.
        lowest: Index of the lowest block with trained parameters.
    """

    def __init__(self, blocks: Sequence[Block], head: Head, images: Tensor, *, lowest: int) -> None:
        self.blocks, self.head, self.lowest = blocks, head, lowest
        self.device = images.device
        self.shapes: list[Shape] = []  # of the blocks' inputs, and of the head's
        self._kept_bytes: list[tuple[int, int]] = []  # of one image, without and with keeping
        self.work: list[int] = []  # of one image: the main branch's
        self.lite_work: list[int] = []  # and the lite residual module's
        self._inside_bytes: list[int] = []  # of one image's activations inside the main branch
        hidden = images
        with torch.no_grad():
            for block in blocks:
                self.shapes.append(self._shape(hidden))
                output, kept = block.forward(hidden, 2**20, keep=True)
                of_norm = sum(tensor.nbytes for tensor in kept.of_norm)
                self._kept_bytes.append((of_norm, kept.nbytes))
                self.work.append(_products(block, hidden, output))
                self.lite_work.append(_lite_products(block, output))
                self._inside_bytes.append(_inside_bytes(block, hidden, output))
                hidden = output
        self.shapes.append(self._shape(hidden))
        self.head_bytes = cache(self._head_bytes)
        self._likes = [
            (_like(block), self.shapes[index], index > lowest, self.device)
            for index, block in enumerate(blocks)
        ]

    def forward_bytes(self, block: int, how: How) -> int:
        """Returns the highest sum of what a forward pass allocates, its result included.

        Weights that are held are not counted.
        """
        return self._measured(self._forward_bytes, block, how)

    def backward_bytes(self, block: int, how: How) -> int:
        """Returns the highest sum of a backward pass: its input's gradient, and what it is given.

        That is the gradient of its result and what the forward pass kept, but not the input.
        Neither gradients of parameters that are there before nor weights that are held count.
        """
        return self._measured(self._backward_bytes, block, how)

    def kept_bytes(self, block: int, how: How) -> int:
        """Returns the bytes of what a block keeps beside its input."""
        return how.images * self._kept_bytes[block][how.keeps_lite_residual]

    def forward_work(self, block: int, how: How) -> float:
        """Returns the work of a forward pass."""
        products = how.images * (self.work[block] + self.lite_work[block])
        return products + self._beside(block, how) + _FORWARD_CALLS

    def backward_work(self, block: int, how: How) -> float:
        """Returns the work of a backward pass, which computes what is inside the block again."""
        lite = self.lite_work[block] * (2 if how.keeps_lite_residual else 3)
        products = how.images * (_BACKWARD * self.work[block] + lite)
        return products + 2 * self._beside(block, how) + _BACKWARD_CALLS

    def held_bytes(self, block: int) -> int:
        """Returns the bytes that a block's weights take while they are held."""
        return sum(weight.held_bytes for weight in self.blocks[block].weights)

    def gradient_bytes(self, block: int) -> int:
        """Returns the bytes of the gradients of a block's parameters."""
        return sum(parameter.nbytes for parameter in self.blocks[block].parameters)

    def _beside(self, block: int, how: How) -> float:
        """Returns the work of tiles and of weights that are made for one pass."""
        tiles = _TILE * how.images * self._inside_bytes[block] / how.tile_bytes
        weights = 0 if how.held else sum(_WEIGHT * w.numel for w in self.blocks[block].weights)
        return tiles + weights

    def _measured(self, measure: Callable[[int, How], int], block: int, how: How) -> int:
        key = (measure.__name__, *self._likes[block], how)
        return MEMO.get(key, lambda: measure(block, how))

    def _forward_bytes(self, block: int, how: How) -> int:
        input = self._zeros(block, how.images)
        with torch.no_grad(), self._held(block, how):
            return self._peak(lambda: self._forward(block, input, how))

    def _backward_bytes(self, block: int, how: How) -> int:
        input = self._zeros(block, how.images)
        with torch.no_grad():
            like, of_like = self._forward(block, input, how)
        size, zeros = like.shape, of_like.zeros
        output_type = like.dtype
        del like

        def run() -> None:
            handed = [torch.zeros(size, dtype=output_type, device=self.device)]
            self.blocks[block].backward(
                input,
                zeros(),
                handed,
                how.tile_bytes,
                needs_input=block > self.lowest,
                complete=drop_gradients
                if how.gradients == "dropped"
                else (lambda parameters: None),
            )

        with torch.no_grad(), self._held(block, how):
            if how.gradients == "added":
                run()
            peak = self._peak(run)
        drop_gradients(self.blocks[block].parameters)
        return peak

    def _forward(self, block: int, input: Tensor, how: How) -> tuple[Tensor, Kept]:
        return self.blocks[block].forward(input, how.tile_bytes, keep=how.keeps_lite_residual)

    def _held(self, block: int, how: How) -> AbstractContextManager[None]:
        return self.blocks[block].held() if how.held else nullcontext()

    def _head_bytes(self, images: int, tile_bytes: int) -> int:
        """Returns the highest sum of what the head's step allocates."""
        input = self._zeros(len(self.blocks), images)
        classes = self.head.classifier.out_features
        labels = torch.zeros(images, dtype=torch.int64, device=self.device) % classes
        needs_input = self.lowest < len(self.blocks)

        def run() -> None:
            self.head.step(
                input, labels, label_smoothing=0.0, tile_bytes=tile_bytes, needs_input=needs_input
            )

        with torch.random.fork_rng():  # for dropout
            peak = self._peak(run)
        drop_gradients(self.head.parameters)
        return peak

    def _peak(self, run: Callable[[], object]) -> int:
        with torch.no_grad():
            return inference_bytes(run, self.device)

    def _zeros(self, block: int, images: int) -> Tensor:
        shape = self.shapes[block]
        return torch.zeros(images, *shape.sizes, dtype=shape.dtype, device=self.device)

    def _shape(self, tensor: Tensor) -> Shape:
        return Shape(tuple(tensor.shape[1:]), tensor.dtype)


def drop_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Forgets the gradients of parameters."""
    for parameter in parameters:
        parameter.grad = None


def _like(block: Block) -> str:
    """Returns what a block's memory depends on, beside the size of its input."""
    lite_residual = [block.lite_residual.module] if block.lite_residual else []
    modules = [*block.branch.layers, *lite_residual]
    tensors = [(t.shape, t.dtype, t.requires_grad) for m in modules for t in _tensors(m)]
    native, threads = block.branch.native is not None, torch.get_num_threads()
    return f"{modules} {tensors} {block.skip} {native} {threads}"


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    return chain(module.parameters(), module.buffers())


def _products(block: Block, input: Tensor, output: Tensor) -> int:
    """Returns the multiplications of a main branch's forward pass, for one image."""
    slabs = block.branch.slabs
    pixels = torch.Size(slabs.expand.weight.output_size(input)).numel()
    filtered = output.shape[2:].numel()
    products = slabs.expand.weight.numel * pixels
    return products + (slabs.depthwise.weight.numel + slabs.projection.numel) * filtered


def _lite_products(block: Block, output: Tensor) -> int:
    """Returns what a lite residual module's forward pass takes, in products of the main branch."""
    if block.lite_residual is None:
        return 0
    products = sum(weight.numel for weight in block.lite_residual.weights)
    return _LITE * products * output.shape[2:].numel() // 4


def _inside_bytes(block: Block, input: Tensor, output: Tensor) -> int:
    slabs = block.branch.slabs
    pixels = torch.Size(slabs.expand.weight.output_size(input)).numel()
    return slabs.channels * (pixels + output.shape[2:].numel()) * output.element_size()
