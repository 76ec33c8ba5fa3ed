"""A training step as a plan has it."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tinytl.backbones import Network
from tinytl.engine.planned.block import Kept, blocks_of
from tinytl.engine.planned.plan import Part, Plan
from tinytl.engine.planned.slabs import joined
from tinytl.memory.marks import running


@dataclass
class _Saved:
    """What a part or a block keeps between forward and backward.

    Attributes:
        input: What it was given.
        kept: What a block keeps beside it; a part keeps nothing.
    """

    input: Tensor
    kept: Kept


class PlannedStep:
    """Training steps of one network with one plan.

    Gradients are exact. A parameter is updated as soon as its gradient is complete, so that the
    gradients of few parameters exist at a time.

    Args:
        network: Converted by `tinytl.engine.convert`, with its trained parameters marked.
        optimizer: Over the trained parameters; one that updates each of them by itself.
        plan: For the network.

    Raises:
        ConfigError: If the network cannot be streamed.
    """

    def __init__(self, network: Network, optimizer: torch.optim.Optimizer, plan: Plan) -> None:
        self.blocks, self.head = blocks_of(network)
        self.optimizer = optimizer
        self.plan = plan
        trained = [index for index, block in enumerate(self.blocks) if block.parameters]
        # nothing below it needs a gradient
        self.lowest = min(trained, default=len(self.blocks))

    @torch.no_grad()
    def __call__(self, images: Tensor, labels: Tensor, label_smoothing: float) -> Tensor:
        """Takes one step on a batch, and leaves no gradient behind.

        Args:
            images: [N, 3, H, W].
            labels: See `tinytl.engine.loss.training_loss`.
            label_smoothing: As there.

        Returns:
            The mean loss of the batch, a scalar.
        """
        saved: list[_Saved] = []
        hidden = images
        for part in self.plan.parts:
            hidden = self._saving(part, hidden, saved)
        loss, grad = self.head.step(
            hidden,
            labels,
            label_smoothing=label_smoothing,
            tile_bytes=self.plan.tile_bytes,
            needs_input=self.lowest < len(self.blocks),
        )
        del hidden
        self._update(self.head.parameters)
        handed = [grad]
        del grad
        self._backward_chain(self.plan.parts, saved, handed, len(images))
        return loss

    def _forward(self, part: Part | int, input: Tensor) -> Tensor:
        """Returns what a part makes of its input, and keeps nothing."""
        if isinstance(part, int):
            return self._block_forward(part, input, keep=False)[0]
        with self._held(part, len(input)):
            outputs = (self._chain(part, images) for images in input.split(part.images))
            return joined(outputs, len(input))

    def _chain(self, part: Part, hidden: Tensor) -> Tensor:
        for child in part.children:
            hidden = self._forward(child, hidden)
        return hidden

    def _block_forward(self, index: int, input: Tensor, *, keep: bool) -> tuple[Tensor, Kept]:
        block = self.blocks[index]
        with running(block.name):
            return block.forward(input, self.plan.tile_bytes, keep=keep)

    def _saving(self, part: Part | int, input: Tensor, saved: list["_Saved"]) -> Tensor:
        """Returns what a part makes of its input, and notes what its backward pass needs."""
        kept = Kept([], [])
        if isinstance(part, int):
            output, kept = self._block_forward(part, input, keep=self.plan.keeps_lite_residuals)
        else:
            output = self._forward(part, input)
        if _last_block(part) >= self.lowest:
            saved.append(_Saved(input, kept))
        return output

    def _backward_chain(
        self,
        parts: Sequence[Part | int],
        saved: list["_Saved"],
        grads: list[Any],
        batch: int,
    ) -> None:
        """Makes the gradient of the last part's output that of the first one's input.

        Args:
            parts: One after another.
            saved: What `_saving` noted of the last of them, which is taken out.
            grads: The gradient, in a list so that no other reference keeps its memory; in the end
                None where it is not needed.
            batch: Images in the batch: with fewer, gradients are still incomplete.
        """
        for part in reversed(parts[len(parts) - len(saved) :]):
            grads.append(self._backward(part, saved.pop(), grads, batch))

    def _backward(
        self, part: Part | int, saved: "_Saved", grads: list[Any], batch: int
    ) -> Tensor | None:
        """Returns the gradient of a part's input, None where it is not needed.

        Args:
            part: With parameters that are trained, or with blocks below it that have some.
            saved: By the part; the memory of its input may become that of the gradient.
            grads: The gradient of what the part returned, which is taken out.
            batch: See `_backward_chain`.
        """
        if isinstance(part, int):
            block = self.blocks[part]
            with running(block.name):
                return block.backward(
                    saved.input,
                    saved.kept,
                    grads,
                    self.plan.tile_bytes,
                    needs_input=part > self.lowest,
                    complete=self._update if len(saved.input) == batch else _ignore,
                )
        images = len(saved.input)
        with self._held(part, images):
            grad_input = self._part_backward(part, saved.input, grads, batch)
        if images == batch:
            self._update([p for index in part.blocks for p in self.blocks[index].parameters])
        return grad_input if part.blocks.start > self.lowest else None

    def _part_backward(
        self, part: Part, input: Tensor, grads: list[Any], batch: int
    ) -> Tensor | None:
        """See `_backward`: for a few images at a time, whose forward pass is repeated."""
        grad = grads.pop()
        whole = len(input) <= part.images
        for start in range(0, len(input), part.images):
            images = slice(start, start + part.images)
            inside: list[_Saved] = []
            hidden = input[images]
            for child in part.children:
                hidden = self._saving(child, hidden, inside)
            del hidden
            handed = [grad[images]]
            if images.stop >= len(input):
                del grad
            self._backward_chain(part.children, inside, handed, batch)
            result = handed.pop()
            if result is not None and not whole:
                input[images] = result
        return result if whole else input

    @contextmanager
    def _held(self, part: Part, images: int) -> Iterator[None]:
        """Keeps weights as they are used where blocks compute so many images in several turns."""
        blocks = [self.blocks[index] for index in part.blocks]
        with ExitStack() as stack:
            for block in blocks if self.plan.holds_weights and images > part.images else ():
                if not block.is_held:
                    stack.enter_context(block.held())
            yield

    def _update(self, parameters: Sequence[nn.Parameter]) -> None:
        """Updates the parameters that have a gradient, which it then drops."""
        if any(parameter.grad is not None for parameter in parameters):
            self.optimizer.step()
            for parameter in parameters:
                parameter.grad = None


def _ignore(parameters: Sequence[nn.Parameter]) -> None:
    """Leaves gradients to be added to."""


def _last_block(part: Part | int) -> int:
    return part if isinstance(part, int) else part.blocks.stop - 1
