"""A training step as a plan has it."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tinytl.backbones import Network
from tinytl.engine.planned.block import blocks_of, joined
from tinytl.engine.planned.plan import Part, Plan


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
        batch = len(images)
        inputs = [images]
        for part in self.plan.parts:
            output = self._forward(part, inputs[-1])
            if _last_block(part) < self.lowest:
                inputs.clear()
            inputs.append(output)
            del output
        loss, grad = self.head.step(
            inputs.pop(),
            labels,
            label_smoothing=label_smoothing,
            tile_bytes=self.plan.tile_bytes,
            needs_input=self.lowest < len(self.blocks),
        )
        self._update(self.head.parameters)
        handed = [] if grad is None else [grad]
        del grad
        for part in reversed(self.plan.parts):
            if not handed:
                break
            grad = self._backward(part, inputs.pop(), handed, batch)
            handed = [] if grad is None else [grad]
            del grad
        return loss

    def _forward(self, part: Part | int, input: Tensor) -> Tensor:
        """Returns what a part makes of its input, and keeps nothing."""
        if isinstance(part, int):
            return self.blocks[part].forward(input, self.plan.tile_bytes)
        return joined(
            (self._chain(part, images) for images in input.split(part.images)), len(input)
        )

    def _chain(self, part: Part, hidden: Tensor) -> Tensor:
        for child in part.children:
            hidden = self._forward(child, hidden)
        return hidden

    def _backward(
        self, part: Part | int, input: Tensor, grads: list[Tensor], batch: int
    ) -> Tensor | None:
        """Returns the gradient of a part's input, None where it is not needed.

        Args:
            part: With parameters that are trained, or with blocks below it that have some.
            input: Of the part; its memory may become that of its gradient.
            grads: The gradient of what the part returned, which is taken out; as well.
            batch: Images in the batch: with fewer, gradients are still incomplete.
        """
        if isinstance(part, int):
            return self.blocks[part].backward(
                input,
                grads,
                self.plan.tile_bytes,
                needs_input=part > self.lowest,
                complete=self._update if len(input) == batch else _ignore,
            )
        grad = grads.pop()
        needed = [child for child in part.children if _last_block(child) >= self.lowest]
        for start in range(0, len(input), part.images):
            images = slice(start, start + part.images)
            inputs = [input[images]]
            for child in part.children[:-1]:
                inputs.append(self._forward(child, inputs[-1]))
            handed = [grad[images]]
            if images.stop >= len(input):
                del grad
            for child in reversed(needed):
                result = self._backward(child, inputs.pop(), handed, batch)
                handed = [] if result is None else [result]
            del result
            if handed:
                if len(handed[0]) == len(input):
                    return handed.pop()
                input[images] = handed.pop()
        if len(input) == batch:
            self._update([p for index in part.blocks for p in self.blocks[index].parameters])
        return input if part.blocks.start > self.lowest else None

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
