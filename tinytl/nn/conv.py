"""Convolutions that keep their input only where the gradient of their weight needs it."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.utils import _pair

from tinytl.nn.norm import SavingBatchNorm2d, batch_norm_scale
from tinytl.nn.weight_standardization import standardize, standardize_backward_

# stride, padding, dilation, groups
Geometry = tuple[tuple[int, int], tuple[int, int], tuple[int, int], int]


class WSConv2d(nn.Conv2d):
    """A convolution with a standardized weight."""

    def forward(self, input: Tensor) -> Tensor:
        """Returns the convolution of `input` [N, C, H, W] with the standardized weight."""
        return self._conv_forward(input, standardize(self.weight), self.bias)


class _Conv2d(torch.autograd.Function):
    """Keeps what its weight is made of (no copy), and the input only if that needs a gradient."""

    @staticmethod
    def forward(
        ctx: Any,
        input: Tensor,
        bias: Tensor | None,
        geometry: Geometry,
        standardized: bool,
        dense: Callable[..., Tensor],
        *stored: Tensor,
    ) -> Tensor:
        ctx.geometry, ctx.standardized, ctx.dense = geometry, standardized, dense
        ctx.input_size = input.shape
        ctx.save_for_backward(input if ctx.needs_input_grad[5] else None, *stored)
        return F.conv2d(input, _used(dense(*stored), standardized), bias, *geometry)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        input, *stored = ctx.saved_tensors
        stride, padding, dilation, groups = ctx.geometry
        needs_input, needs_bias, needs_weight = (ctx.needs_input_grad[i] for i in (0, 1, 5))
        grad_input = grad_weight = grad_bias = None
        if needs_input:  # first: the weight as it was used is gone when the weight's gradient comes
            used = _used(ctx.dense(*stored), ctx.standardized).to(grad.dtype)
            grad_input = input_gradient(grad, used, ctx.input_size, ctx.geometry)
            del used
        if needs_weight:
            (weight,) = stored
            grad_weight = torch.ops.aten.convolution_backward(
                grad, input.to(grad.dtype), weight.to(grad.dtype), None, stride, padding, dilation,
                False, [0, 0], groups, [False, True, False],
            )[1].to(weight.dtype)  # fmt: skip
            if ctx.standardized:
                grad_weight = standardize_backward_(grad_weight, weight)
        if needs_bias:
            grad_bias = grad.sum(dim=(0, 2, 3))
        return grad_input, grad_bias, None, None, None, grad_weight, *[None] * (len(stored) - 1)


def _used(weight: Tensor, standardized: bool) -> Tensor:
    return standardize(weight) if standardized else weight


def input_gradient(
    grad: Tensor,
    weight: Tensor,
    input_size: torch.Size,
    geometry: Geometry,
) -> Tensor:
    """Returns the gradient of a convolution's input, of which it needs no more than the size.

    Args:
        grad: Of the result.
        weight: As it was used.
        input_size: Of the input.
        geometry: Of the convolution.
    """
    stride, padding, dilation, groups = geometry
    if weight.shape[2:] == (1, 1) and (stride, padding, groups) == ((1, 1), (0, 0), 1):
        # a product of matrices: stock PyTorch's transposed convolution makes a copy for it
        transposed = weight.flatten(1).T.expand(len(grad), -1, -1)
        return torch.bmm(transposed, grad.flatten(2)).view(input_size)
    output_padding = [
        input_size[axis + 2]
        - (grad.shape[axis + 2] - 1) * stride[axis]
        + 2 * padding[axis]
        - dilation[axis] * (weight.shape[axis + 2] - 1)
        - 1
        for axis in (0, 1)
    ]
    return F.conv_transpose2d(grad, weight, None, stride, padding, output_padding, groups, dilation)


class SavingConv2d(nn.Conv2d):
    """A convolution that keeps its input only if its weight is trained.

    Zero padding given in numbers only; `tinytl.engine.convert` leaves others as they are.

    Attributes:
        norm: The norm behind it that it computes too, if any. In a tuple, so that it is no module
            of this one.
    """

    standardized = False
    norm: tuple[SavingBatchNorm2d, ...] = ()

    def forward(self, input: Tensor) -> Tensor:
        """Returns the convolution of `input` [N, C, H, W], normalized if a norm is folded in."""
        for norm in self.norm:
            if self.trains_weight or norm.trains_scale or norm.uses_batch_statistics:
                return norm.normalize(self._convolution(input, self.bias, *self.weight_source()))
            function, *stored = self.weight_source()
            scaled = partial(_scaled, function=function, eps=norm.eps)
            shift = norm.shift(self.bias)
            return self._convolution(input, shift, scaled, *stored, norm.weight, norm.running_var)
        return self._convolution(input, self.bias, *self.weight_source())

    def _convolution(self, input: Tensor, bias: Tensor | None, *source: Any) -> Tensor:
        geometry = self.stride, _pair(self.padding), self.dilation, self.groups
        return _Conv2d.apply(input, bias, geometry, self.standardized, *source)

    def weight_source(self) -> tuple[Callable[..., Tensor], *tuple[Tensor, ...]]:
        """Returns a function that makes the weight, before standardization, and its arguments."""
        return lambda weight: weight, self.weight

    @property
    def trains_weight(self) -> bool:
        """Whether the weight needs a gradient."""
        return self.weight is not None and self.weight.requires_grad

    @property
    def weight_shape(self) -> torch.Size:
        """The shape of the weight."""
        return self.weight.shape

    def part(self, outputs: slice, inputs: slice) -> Tensor:
        """Returns the weight of some output and input channels, before standardization."""
        return self.weight.detach()[outputs, inputs]


def fold(convolution: SavingConv2d, norm: SavingBatchNorm2d) -> None:
    """Makes a convolution compute the norm directly behind it, which then returns its input.

    A norm with frozen scale and statistics is a linear map for each channel: its scale goes into
    the frozen weight where that is used, its shift is a bias. Neither has a result of its own then.
    Parameters stay where they are; while they or the statistics are trained, convolution and norm
    are computed one after the other.
    """
    convolution.norm, norm.in_convolution = (norm,), True


def _scaled(*stored: Any, function: Callable[..., Tensor], eps: float) -> Tensor:
    """Returns the weight that `function` makes, times the scale of a norm."""
    *weight, scale, variance = stored
    return function(*weight) * batch_norm_scale(scale, variance, eps).view(-1, 1, 1, 1)


class SavingWSConv2d(WSConv2d, SavingConv2d):
    """A weight-standardized convolution that keeps no standardized copy of its weight."""

    standardized = True
    forward = SavingConv2d.forward
