"""Layers computed for a slab of their channels, forward and backward, without a graph.

Each backward method takes the gradient of what the forward method returned, and returns that of its
input; only names that end in `_` say that something is changed in place.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tinytl.nn.conv import SavingConv2d, input_gradient
from tinytl.nn.weight_standardization import EPS, standardize, standardize_backward_

ALL = slice(None)


def add_gradient(parameter: Tensor, slab: slice, grad: Tensor) -> None:
    """Adds the gradient of some rows of a parameter to `parameter.grad`."""
    if parameter.grad is not None:
        parameter.grad[slab].add_(grad)
    elif grad.shape == parameter.shape:
        parameter.grad = grad
    else:
        parameter.grad = torch.zeros_like(parameter)
        parameter.grad[slab].copy_(grad)


class SlabWeight:
    """A convolution's weight, of which a slab of output or of input channels is used at a time.

    What is stored or standardized is made again for each use, unless it is held.
    """

    def __init__(self, layer: SavingConv2d) -> None:
        self.layer = layer
        self.trained = layer.trains_weight
        self.pointwise = layer.kernel_size == (1, 1) and layer.stride == (1, 1)
        self.numel = math.prod(layer.weight_shape)
        self.held: Tensor | None = None
        self._statistics: tuple[Tensor, Tensor] | None = None
        self._used_grad: Tensor | None = None  # of the weight as it is used

    def hold(self) -> None:
        """Keeps the weight as it is used, and collects its gradient, until `release`."""
        self.held = self.rows(ALL)

    @property
    def held_bytes(self) -> int:
        """What `hold` takes: nothing where the weight is used as it is stored."""
        sample = self.layer.part(slice(0, 1), ALL)
        stored = self.layer.weight is not None and not self.layer.standardized
        return 0 if stored else self.numel * sample.element_size()

    def release(self) -> None:
        """Ends `hold`."""
        self.held = None
        self._finish_gradient()

    def output_size(self, input: Tensor) -> tuple[int, int]:
        """Returns height and width of what `forward` returns."""
        layer = self.layer
        height, width = (
            (input.shape[axis + 2] + 2 * int(layer.padding[axis]) - layer.kernel_size[axis])
            // layer.stride[axis]
            + 1
            for axis in (0, 1)
        )
        return height, width

    def forward(self, input: Tensor, slab: slice) -> Tensor:
        """Returns the slab of output channels for `input`; all of it, or the slab if depthwise."""
        weight = self.rows(slab)
        return F.conv2d(input, weight, None, *self._geometry(weight))

    def backward(self, grad: Tensor, slab: slice, input_size: torch.Size) -> Tensor:
        """Returns the gradient of the input of `forward`."""
        weight = self.rows(slab)
        return input_gradient(grad, weight, input_size, self._geometry(weight))

    def backward_into_(self, grad_input: Tensor, grad: Tensor, slab: slice) -> None:
        """Adds the gradient of the input of `forward` to `grad_input`."""
        if not self.pointwise:
            grad_input.add_(self.backward(grad, slab, grad_input.shape))
            return
        transposed = self.rows(slab).flatten(1).T.expand(len(grad), -1, -1)
        grad_input.flatten(2).baddbmm_(transposed, grad.flatten(2))

    def add_gradient(self, input: Tensor, grad: Tensor, slab: slice) -> None:
        """Adds the gradient of the weight's slab, if it is trained."""
        if not self.trained:
            return
        raw = self.layer.part(slab, ALL)
        stride, padding, dilation, groups = self._geometry(raw)
        weight_grad = torch.ops.aten.convolution_backward(
            grad, input, raw, None, stride, padding, dilation, False, [0, 0], groups,
            [False, True, False],
        )[1]  # fmt: skip
        if self.held is not None:
            self._note(weight_grad, (slab,))
            return
        if self.layer.standardized:
            weight_grad = standardize_backward_(weight_grad, raw)
        add_gradient(self.layer.weight, slab, weight_grad)

    def project_(self, total: Tensor | None, input: Tensor, slab: slice) -> Tensor:
        """Returns `total`, in place, with the share of a slab of input channels added."""
        weight = self.columns(slab).expand(len(input), -1, -1)
        if total is None:
            return torch.bmm(weight, input.flatten(2)).unflatten(2, input.shape[2:])
        total.flatten(2).baddbmm_(weight, input.flatten(2))
        return total

    def project_backward(self, grad: Tensor, slab: slice) -> Tensor:
        """Returns the gradient of a slab of input channels."""
        weight = self.columns(slab).T.expand(len(grad), -1, -1)
        return torch.bmm(weight, grad.flatten(2)).unflatten(2, grad.shape[2:])

    def add_project_gradient(self, input: Tensor, grad: Tensor, slab: slice) -> None:
        """Notes the gradient of the weight for a slab of input channels, if it is trained."""
        if not self.trained:
            return
        share = torch.bmm(grad.flatten(2), input.flatten(2).transpose(1, 2)).sum(dim=0)
        self._note(share[:, :, None, None], (ALL, slab))

    def finish_project_gradient(self) -> None:
        """Adds the gradient of the weight when all slabs are noted, unless more will be."""
        if self.held is None:
            self._finish_gradient()

    def _note(self, share: Tensor, where: tuple[slice, ...]) -> None:
        """Adds to the gradient of the weight as it is used."""
        if self._used_grad is None and share.shape == self.layer.weight.shape:
            self._used_grad = share
            return
        if self._used_grad is None:
            self._used_grad = torch.zeros_like(self.layer.weight)
        self._used_grad[where].add_(share)

    def _finish_gradient(self) -> None:
        grad, self._used_grad = self._used_grad, None
        if grad is None:
            return
        if self.layer.standardized:  # needs whole filters
            grad = standardize_backward_(grad, self.layer.weight.detach())
        add_gradient(self.layer.weight, ALL, grad)

    def _geometry(self, weight: Tensor) -> Any:
        layer = self.layer
        groups = max(1, layer.groups * len(weight) // layer.out_channels)
        return layer.stride, layer.padding, layer.dilation, groups

    def rows(self, slab: slice) -> Tensor:
        """Returns the weight of a slab of output channels, as it is used."""
        if self.held is not None:
            return self.held[slab]
        weight = self.layer.part(slab, ALL)
        if not self.layer.standardized:
            return weight
        if self.trained:
            return standardize(weight)
        mean, scale = (s[slab, :, None, None] for s in self._filter_statistics())
        return (weight - mean).div_(scale)

    def columns(self, slab: slice) -> Tensor:
        """Returns the weight of a 1x1 convolution for a slab of input channels, [out, s]."""
        if self.held is not None:
            return self.held.flatten(1)[:, slab]
        weight = self.layer.part(ALL, slab).flatten(1)
        if not self.layer.standardized:
            return weight
        mean, scale = self._filter_statistics()
        return (weight - mean).div_(scale)

    def _filter_statistics(self) -> tuple[Tensor, Tensor]:
        """Returns what standardizes whole filters: their means and divisors, [out, 1] each."""
        if self._statistics is not None:
            return self._statistics
        filters = self.layer.part(ALL, ALL).flatten(1)
        deviation, mean = torch.std_mean(filters, dim=1, keepdim=True)
        statistics = mean, deviation.add_(EPS)
        if not self.trained:
            self._statistics = statistics
        return statistics


class SlabNorm:
    """A norm layer for a slab of channels; GroupNorm's slabs hold whole groups."""

    def __init__(self, layer: nn.GroupNorm | nn.BatchNorm2d) -> None:
        self.layer = layer
        self.per_group = (
            layer.num_channels // layer.num_groups if isinstance(layer, nn.GroupNorm) else 1
        )
        self.fixed = not isinstance(layer, nn.GroupNorm)

    def forward(self, input: Tensor, slab: slice) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Returns the normalized `input` [N, s, H, W], and what `backward` needs.

        BatchNorm with a frozen scale works in place.
        """
        weight, bias = self.affine(slab)
        if isinstance(self.layer, nn.GroupNorm):
            output, mean, rstd = torch.native_group_norm(
                input, weight, bias, *self._sizes(input), self.layer.eps
            )
            return output, (input, mean, rstd)
        scale, shift = self._linear(weight, bias, slab)
        if self.layer.weight.requires_grad:
            return torch.addcmul(shift, input, scale), (input,)
        return input.mul_(scale).add_(shift), ()

    def backward_(self, grad: Tensor, kept: tuple[Tensor, ...], slab: slice) -> Tensor:
        """Returns the gradient of the input in the memory of `grad`.

        Gradients of scale and bias are added up where they are trained.
        """
        layer, (weight, bias) = self.layer, self.affine(slab)
        if isinstance(layer, nn.GroupNorm):
            return self._group_norm_backward_(grad, kept, weight, slab)
        if layer.weight.requires_grad or layer.bias.requires_grad:
            bias_grad = grad.sum(dim=(0, 2, 3))
            add_if_trained(layer.bias, slab, bias_grad)
            if layer.weight.requires_grad:
                mean, inverse = self.running(slab)
                along = torch.einsum("nchw,nchw->c", grad, kept[0])
                add_gradient(layer.weight, slab, (along - mean * bias_grad) * inverse)
        scale, _ = self._linear(weight, bias, slab)
        return grad.mul_(scale)

    def _group_norm_backward_(
        self, grad: Tensor, kept: tuple[Tensor, ...], weight: Tensor, slab: slice
    ) -> Tensor:
        """The gradient of `(x - m) * r * w + b`, m and r being functions of x themselves.

        With n values in a group and their normalized values y, it is
        r * (w g - mean(w g) - y * mean(w g y)).
        """
        input, mean, rstd = kept
        images, channels, size, groups = self._sizes(input)
        per_channel = grad.sum(dim=(2, 3))
        # matrices of one row, for their product needs no memory for the products of the elements
        along = torch.bmm(
            grad.view(images * channels, 1, size), input.view(images * channels, size, 1)
        ).view(images, channels)
        mean, rstd = mean.view(images, groups, 1), rstd.view(images, groups, 1)
        by_group = per_channel.view(images, groups, -1), along.view(images, groups, -1)
        normalized = (by_group[1] - mean * by_group[0]) * rstd  # sum of g y of each channel
        add_if_trained(self.layer.weight, slab, normalized.view(images, channels).sum(dim=0))
        add_if_trained(self.layer.bias, slab, per_channel.sum(dim=0))
        scale = weight.view(1, groups, -1)
        count = size * self.per_group
        first = (scale * by_group[0]).sum(dim=2, keepdim=True) / count
        second = (scale * normalized).sum(dim=2, keepdim=True) / count
        of_input = -second * rstd.square()
        constant = -first * rstd - of_input * mean
        grad.mul_((scale * rstd).view(images, channels, 1, 1))
        grouped = images, groups, self.per_group * size
        grad.view(grouped).addcmul_(input.view(grouped), of_input).add_(constant)
        return grad

    def affine(self, slab: slice) -> tuple[Tensor, Tensor]:
        """Returns scale and bias."""
        return self.layer.weight.detach()[slab], self.layer.bias.detach()[slab]

    def _sizes(self, input: Tensor) -> tuple[int, int, int, int]:
        """Images, channels, values of a channel, groups."""
        images, channels, height, width = input.shape
        return images, channels, height * width, channels // self.per_group

    def _linear(self, weight: Tensor, bias: Tensor, slab: slice) -> tuple[Tensor, Tensor]:
        """Returns the scale and shift that a frozen BatchNorm is, [s, 1, 1] each."""
        mean, inverse = self.running(slab)
        scale = weight * inverse
        return scale.view(-1, 1, 1), (bias - mean * scale).view(-1, 1, 1)

    def running(self, slab: slice) -> tuple[Tensor, Tensor]:
        """Returns mean and inverse deviation of a BatchNorm, which are fixed."""
        layer: Any = self.layer
        return layer.running_mean[slab], torch.rsqrt(layer.running_var[slab] + layer.eps)


def add_if_trained(parameter: Tensor, slab: slice, grad: Tensor) -> None:
    """Adds the gradient of some rows of a parameter, if it is trained."""
    if parameter.requires_grad:
        add_gradient(parameter, slab, grad)


class Activation:
    """ReLU or ReLU6; its gradient needs nothing but its result."""

    def __init__(self, layer: nn.ReLU | nn.ReLU6) -> None:
        self.high = 6.0 if isinstance(layer, nn.ReLU6) else None

    def forward_(self, input: Tensor) -> None:
        """Clamps `input` in place."""
        input.clamp_(min=0, max=self.high)

    def backward_(self, grad: Tensor, output: Tensor) -> None:
        """Makes the gradient of the result that of the input, in place."""
        if self.high is None:
            torch.ops.aten.threshold_backward.grad_input(grad, output, 0, grad_input=grad)
        else:
            torch.ops.aten.hardtanh_backward.grad_input(grad, output, 0, self.high, grad_input=grad)
