"""What blocks cost by themselves: bytes as measured, and work as counted."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from itertools import chain

import torch
from torch import Tensor, nn

from tinytl.engine.planned.block import Block, Head
from tinytl.memory.measured import inference_bytes

# Work is counted in products, about 30 million of which a processor does in a millisecond. What
# calls of PyTorch's operators cost beside them, some 50 in a forward pass, 150 in a backward pass:
_FORWARD_CALLS, _BACKWARD_CALLS = 15_000_000, 45_000_000


@dataclass(frozen=True)
class Shape:
    """Channels, height and width, and the type of the elements."""

    sizes: tuple[int, ...]
    dtype: torch.dtype

    def bytes(self, images: int) -> int:
        """Returns the bytes of so many images."""
        return images * torch.Size(self.sizes).numel() * self.dtype.itemsize


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
        self.kept_bytes: list[int] = []  # of one image
        self.work: list[int] = []  # of one image
        hidden = images
        with torch.no_grad():
            for block in blocks:
                self.shapes.append(self._shape(hidden))
                output, kept = block.forward(hidden, 2**20)
                self.kept_bytes.append(sum(tensor.nbytes for tensor in kept))
                self.work.append(_products(block, hidden, output))
                hidden = output
        self.shapes.append(self._shape(hidden))
        self.head_bytes = cache(self._head_bytes)
        self._measured_forward = cache(self._forward_bytes)
        self._measured_backward = cache(self._backward_bytes)
        likes = [
            (_like(block), self.shapes[index], index == lowest)
            for index, block in enumerate(blocks)
        ]
        self._same = [likes.index(like) for like in likes]  # the first block that costs the same

    def forward_bytes(self, block: int, images: int, tile_bytes: int, held: bool) -> int:
        """Returns the highest sum of what a forward pass allocates, its result included.

        Weights that are held are not counted.
        """
        return self._measured_forward(self._same[block], images, tile_bytes, held)

    def backward_bytes(self, block: int, images: int, tile_bytes: int, held: bool) -> int:
        """Returns the highest sum of a backward pass: its input's gradient, and what it is given.

        That is the gradient of its result and what the forward pass kept, but not the input.
        Gradients of parameters count only if weights are not `held`, for then they are gone
        afterwards; weights that are held are not counted.
        """
        return self._measured_backward(self._same[block], images, tile_bytes, held)

    def forward_work(self, block: int, images: int) -> float:
        """Returns the work of a forward pass."""
        return images * self.work[block] + _FORWARD_CALLS

    def backward_work(self, block: int, images: int) -> float:
        """Returns the work of a backward pass, which computes what is inside the block again."""
        return 2 * images * self.work[block] + _BACKWARD_CALLS

    def held_bytes(self, block: int) -> int:
        """Returns the bytes that a block's weights take while they are held."""
        return sum(weight.held_bytes for weight in self.blocks[block].weights)

    def gradient_bytes(self, block: int) -> int:
        """Returns the bytes of the gradients of a block's parameters."""
        return sum(parameter.nbytes for parameter in self.blocks[block].parameters)

    def _forward_bytes(self, block: int, images: int, tile_bytes: int, held: bool) -> int:
        input = self._zeros(block, images)
        with torch.no_grad(), self.blocks[block].held() if held else nullcontext():
            return self._peak(lambda: self.blocks[block].forward(input, tile_bytes))

    def _backward_bytes(self, block: int, images: int, tile_bytes: int, held: bool) -> int:
        input = self._zeros(block, images)
        with torch.no_grad():
            results = self.blocks[block].forward(input, tile_bytes)
        (size, *shapes), dtype = [t.shape for t in (results[0], *results[1])], results[0].dtype
        del results

        def run() -> None:
            handed = [torch.zeros(size, dtype=dtype, device=self.device)]
            self.blocks[block].backward(
                input,
                [torch.zeros(s, dtype=dtype, device=self.device) for s in shapes],
                handed,
                tile_bytes,
                needs_input=block > self.lowest,
                complete=(lambda parameters: None) if held else drop_gradients,
            )

        with torch.no_grad(), self.blocks[block].held() if held else nullcontext():
            if held:
                run()  # the gradients are there from the first images on
            peak = self._peak(run)
        drop_gradients(self.blocks[block].parameters)
        return peak

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
    return f"{modules} {tensors} {block.skip}"


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    return chain(module.parameters(), module.buffers())


def _products(block: Block, input: Tensor, output: Tensor) -> int:
    """Returns the multiplications of a block's forward pass, for one image."""
    slabs = block.branch.slabs
    pixels = torch.Size(slabs.expand.weight.output_size(input)).numel()
    filtered = output.shape[2:].numel()
    products = slabs.expand.weight.numel * pixels
    products += (slabs.depthwise.weight.numel + slabs.projection.numel) * filtered
    if block.lite_residual is not None:
        convolutions = [m for m in block.lite_residual.module.modules() if isinstance(m, nn.Conv2d)]
        products += sum(m.weight.numel() for m in convolutions) * pixels // 4
    return products
