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
            piece = flat[part].clamp_(min=0, max=high)
            mask[bits.packed_slice(part)] = bits.pack(_slope(piece, high))
        ctx.save_for_backward(mask)
        return input

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (mask,) = ctx.saved_tensors
        grad = grads[0].contiguous()
        result = torch.empty_like(grad)
        flat, flat_result = grad.view(-1), result.view(-1)
        for part in bits.chunks(flat.numel()):
            piece = flat[part]
            slope = bits.unpack(mask[bits.packed_slice(part)], piece.numel(), piece.dtype)
            torch.mul(piece, slope, out=flat_result[part])
        return result, None, None


def _slope(output: Tensor, high: float | None) -> Tensor:
    """Returns 1 where 0 < output < high, else 0: the stock backward kernels of a gradient of 1."""
    ones = output.new_ones(()).expand_as(output)
    if high is None:
        return torch.ops.aten.threshold_backward(ones, output, 0)
    return torch.ops.aten.hardtanh_backward(ones, output, 0, high)


def _clamped(input: Tensor, high: float | None, inplace: bool) -> Tensor:
    # torch.compile cannot follow views of what is changed in place; its graph needs no such hint
    return _ClampedUnit.apply(input, high, inplace and not torch.compiler.is_compiling())


class SavingReLU(nn.ReLU):
    """ReLU that keeps 1 bit per element instead of its result."""

    def forward(self, input: Tensor) -> Tensor:
        """Returns `max(0, input)`."""
        return _clamped(input, None, self.inplace)


class SavingReLU6(nn.ReLU6):
    """ReLU6 that keeps 1 bit per element instead of its input or result."""

    def forward(self, input: Tensor) -> Tensor:
        """Returns `min(max(0, input), 6)`."""
        return _clamped(input, 6.0, self.inplace)
