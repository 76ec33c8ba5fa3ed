"""Pooling that keeps no input."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.utils import _pair

# height and width of a window, their strides, their padding
Windows = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]


class _AvgPool2d(torch.autograd.Function):
    """Non-overlapping average pooling without padding; its gradient needs sizes only."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, kernel_size: int) -> Tensor:
        ctx.kernel_size = kernel_size
        ctx.input_size = input.shape
        return F.avg_pool2d(input, kernel_size)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        return average_gradient(grad, _pair(ctx.kernel_size), ctx.input_size), None


def average_gradient(grad: Tensor, window: tuple[int, int], input_size: torch.Size) -> Tensor:
    """Returns the gradient of the input of an average over windows that tile it from the corner."""
    height, width = grad.shape[2] * window[0], grad.shape[3] * window[1]
    result = grad.new_empty(input_size)
    result[:, :, height:].zero_()
    result[:, :, :, width:].zero_()
    inside = result[:, :, :height, :width]
    windows = inside.unflatten(2, (-1, window[0])).unflatten(4, (-1, window[1]))
    mean = grad[:, :, :, None, :, None].expand(windows.shape)
    torch.div(mean, window[0] * window[1], out=windows)
    return result


class SavingAvgPool2d(nn.AvgPool2d):
    """Average pooling over windows that tile the input, which keeps no input.

    Only for a square kernel that is also the stride, without padding;
    `tinytl.engine.convert` leaves others as they are.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Returns the pooled `input` [N, C, H // k, W // k]."""
        return _AvgPool2d.apply(input, self.kernel_size)


class _MaxPool2d(torch.autograd.Function):
    """Keeps where in its window each maximum stands, one byte each."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, windows: Windows, ceil_mode: bool) -> Tensor:
        output, indices = F.max_pool2d(input, *windows, ceil_mode=ceil_mode, return_indices=True)
        places = torch.empty(indices.shape, dtype=torch.uint8, device=input.device)
        (first_row, first_column), columns = _first_elements(windows, indices), windows[0][1]
        for place, index in zip(places, indices, strict=True):
            row, column = index // input.shape[3], index % input.shape[3]
            place.copy_((row - first_row) * columns + (column - first_column))
        ctx.windows, ctx.input_size = windows, input.shape
        ctx.save_for_backward(places)
        return output

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        (places,) = ctx.saved_tensors
        result = grad.new_zeros(ctx.input_size)
        (first_row, first_column), columns = _first_elements(ctx.windows, places), ctx.windows[0][1]
        for image, place, of_image in zip(result, places, grad, strict=True):
            place = place.long()
            row, column = place // columns + first_row, place % columns + first_column
            index = row * ctx.input_size[3] + column
            image.flatten(1).scatter_add_(1, index.flatten(1), of_image.flatten(1))
        return result, None, None


def _first_elements(windows: Windows, output: Tensor) -> tuple[Tensor, Tensor]:
    """Returns row [H', 1] and column [W'] of each window's first element, below 0 in padding."""
    _, stride, padding = windows
    rows, columns = (
        torch.arange(output.shape[axis + 2], device=output.device) * stride[axis] - padding[axis]
        for axis in (0, 1)
    )
    return rows.unsqueeze(1), columns


class SavingMaxPool2d(nn.MaxPool2d):
    """Maximum pooling that keeps one byte for each element of its result.

    Only for windows without dilation, of up to 256 elements; `tinytl.engine.convert` leaves others
    as they are.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Returns the pooled `input` [N, C, H', W']."""
        if not (input.requires_grad and torch.is_grad_enabled()):
            return super().forward(input)  # nobody asks where the maxima stand
        windows = _pair(self.kernel_size), _pair(self.stride), _pair(self.padding)
        return _MaxPool2d.apply(input, windows, self.ceil_mode)
