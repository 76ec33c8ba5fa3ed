"""ReLU and ReLU6 that keep one bit per element for the backward pass."""

from typing import Any

import torch
from torch import Tensor, nn

from tinytl.nn import bits


class _ClampedUnit(torch.autograd.Function):
    """`clamp(x, 0, high)`, whose gradient passes where 0 < x < high."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, high: float | None, inplace: bool) -> Tensor:
        if not inplace:
            input = input.clone(memory_format=torch.contiguous_format)
        elif not input.is_contiguous():
            raise ValueError("an in-place saving activation needs a contiguous input")
        else:
            ctx.mark_dirty(input)
        flat = input.view(-1)
        mask = bits.empty_bits(flat.numel(), input.device)
        for part in bits.chunks(flat.numel()):
            piece = flat[part]
            passes = piece > 0
            if high is not None:
                passes &= piece < high
            mask[bits.packed_slice(part)] = bits.pack(passes)
        input.clamp_(min=0, max=high)
        ctx.save_for_backward(mask)
        return input

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (mask,) = ctx.saved_tensors
        result = grads[0].clone(memory_format=torch.contiguous_format)
        flat = result.view(-1)
        for part in bits.chunks(flat.numel()):
            piece = flat[part]
            piece *= bits.unpack(mask[bits.packed_slice(part)], piece.numel())
        return result, None, None


class SavingReLU(nn.ReLU):
    """ReLU that keeps 1 bit per element instead of its result."""

    def forward(self, input: Tensor) -> Tensor:
        """Returns `max(0, input)`."""
        return _ClampedUnit.apply(input, None, self.inplace)


class SavingReLU6(nn.ReLU6):
    """ReLU6 that keeps 1 bit per element instead of its input or result."""

    def forward(self, input: Tensor) -> Tensor:
        """Returns `min(max(0, input), 6)`."""
        return _ClampedUnit.apply(input, 6.0, self.inplace)
