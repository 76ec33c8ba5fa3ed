"""A convolution of whose weight some input channels are trained, and twins that keep only these."""

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.utils import _pair

from tinytl.nn.conv import Geometry, WSConv2d, input_gradient
from tinytl.nn.weight_standardization import standardize, standardize_backward_of_part


class PartialConv2d(nn.Conv2d):
    """A convolution whose weight is in two parts; `split` makes one of a convolution.

    `trained` is that of the channels which are trained, `weight` that of the others, both
    [out, in, k, k]; the buffer `order` names the channels of the first, then those of the second.

    Attributes:
        standardized: Whether the weight is standardized where it is used, as a whole.
    """

    trained: nn.Parameter
    order: Tensor
    standardized: bool

    def forward(self, input: Tensor) -> Tensor:
        """Returns the convolution of `input` [N, C, H, W] with the whole weight."""
        return self._conv_forward(input, self.used_weight(), self.bias)

    def used_weight(self) -> Tensor:
        """Returns the whole weight, as it is used."""
        weight = _whole(self.trained, self.weight, self.order)
        return standardize(weight) if self.standardized else weight


class SavingPartialConv2d(PartialConv2d):
    """The same, which keeps its input in the channels that are trained.

    Where the weight is standardized, the trained part depends on the gradient of the whole filter,
    in two sums: for one the sum of all channels is kept, a channel more; for the other the result,
    which the norm behind the convolution keeps anyway.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Returns the convolution of `input` [N, C, H, W] with the whole weight."""
        if not torch.is_grad_enabled():
            return super().forward(input)
        geometry = self.stride, _pair(self.padding), self.dilation, self.groups
        return _PartialConv2d.apply(
            input, self.bias, geometry, self.standardized, self.trained, self.weight, self.order
        )


class _PartialConv2d(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        input: Tensor,
        bias: Tensor | None,
        geometry: Geometry,
        standardized: bool,
        trained: Tensor,
        weight: Tensor,
        order: Tensor,
    ) -> Tensor:
        ctx.geometry, ctx.standardized = geometry, standardized
        ctx.input_size = input.shape
        used = _whole(trained, weight, order)
        output = F.conv2d(input, standardize(used) if standardized else used, bias, *geometry)
        kept = input.index_select(1, order[: trained.shape[1]])
        if standardized:
            kept = torch.cat([kept, input.sum(dim=1, keepdim=True)], dim=1)
        result = output if standardized else None
        ctx.save_for_backward(kept, result, bias, trained, weight, order)
        return output

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        kept, output, bias, trained, weight, order = ctx.saved_tensors
        whole = _whole(trained, weight, order)
        grad_input = grad_bias = None
        if ctx.needs_input_grad[0]:
            used = standardize(whole) if ctx.standardized else whole
            grad_input = input_gradient(grad, used.to(grad.dtype), ctx.input_size, ctx.geometry)
            del used
        if bias is not None:
            grad_bias = grad.sum(dim=(0, 2, 3))
        grad_trained = _weight_gradient(grad, kept, trained, ctx.geometry)
        if ctx.standardized:
            count = trained.shape[1]
            along = torch.einsum("nchw,nchw->c", grad, output.to(grad.dtype))
            if grad_bias is not None:
                along = along - bias * grad_bias
            grad_trained = standardize_backward_of_part(
                grad_trained[:, :count],
                grad_trained[:, count].sum(dim=(1, 2)),
                along.to(trained.dtype),
                whole,
                order[:count],
            )
        return grad_input, grad_bias, None, None, grad_trained, None, None


def _whole(trained: Tensor, weight: Tensor, order: Tensor) -> Tensor:
    return torch.cat([trained, weight], dim=1).index_select(1, order.argsort())


def _weight_gradient(grad: Tensor, input: Tensor, trained: Tensor, geometry: Geometry) -> Tensor:
    """Returns the gradient of a weight for all channels of `input`, of the type of `trained`."""
    stride, padding, dilation, groups = geometry
    shape = len(trained), input.shape[1], *trained.shape[2:]
    like = grad.new_empty(shape)  # the gradient needs no more than its shape
    found = torch.ops.aten.convolution_backward(
        grad, input.to(grad.dtype), like, None, stride, padding, dilation, False, [0, 0], groups,
        [False, True, False],
    )[1]  # fmt: skip
    return cast("Tensor", found.to(trained.dtype))


def split(convolution: nn.Conv2d, channels: Tensor) -> nn.Parameter:
    """Makes the weight of some input channels a parameter of its own, in place.

    Args:
        convolution: Without groups.
        channels: Indices, in any order.

    Returns:
        The parameter, which needs a gradient; the rest needs none.
    """
    weight = convolution.weight.detach()
    is_rest = torch.ones(weight.shape[1], dtype=torch.int8, device=weight.device)
    is_rest[channels] = 0
    order = is_rest.argsort(stable=True)
    partial = cast("PartialConv2d", convolution)
    partial.standardized = isinstance(convolution, WSConv2d)
    partial.__class__ = PartialConv2d
    partial.trained = nn.Parameter(weight.index_select(1, order[: len(channels)]))
    partial.weight = nn.Parameter(weight.index_select(1, order[len(channels) :]), False)
    partial.register_buffer("order", order)
    return partial.trained
