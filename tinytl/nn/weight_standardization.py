"""Weight standardization: each output filter of a convolution gets zero mean and unit deviation."""

import math

import torch
from torch import Tensor

EPS = 1e-5


def standardize(weight: Tensor) -> Tensor:
    """Returns `(w - mean) / (std + 1e-5)` per output filter, with the unbiased deviation.

    Args:
        weight: [out, in / groups, k, k].
    """
    centred, divisor = _centred(weight)
    if torch.is_grad_enabled():
        return centred / divisor
    return centred.div_(divisor)


def standardize_backward_(grad: Tensor, weight: Tensor) -> Tensor:
    """Makes `grad`, of the standardized weight, the gradient of the raw `weight`, in place.

    With d the deviation and n the elements of a filter, the derivative of the quotient gives
    grad_w = (g - mean(g)) / (d + eps) - c * sum(g * c) / ((n - 1) * d * (d + eps)^2),
    where c is the centred filter.
    """
    n = weight[0].numel()
    centred, scale = _centred(weight)
    # a product of matrices needs no memory for the products of the elements
    along = torch.bmm(grad.flatten(1).unsqueeze(1), centred.flatten(1).unsqueeze(2))
    factor = along.view_as(scale) / ((n - 1) * (scale - EPS) * scale.square())
    grad.sub_(grad.mean(dim=(1, 2, 3), keepdim=True)).div_(scale)
    return grad.sub_(centred.mul_(factor))


def standardize_backward_of_part(
    grad: Tensor, total: Tensor, along: Tensor, weight: Tensor, channels: Tensor
) -> Tensor:
    """Returns the gradient of the raw weight in some of its input channels.

    Args:
        grad: That of the standardized weight in these channels, [out, channels, k, k].
        total: The sum of that of the whole weight for each filter, [out].
        along: The sum of its products with the standardized weight, [out].
        weight: The whole raw weight.
        channels: Indices.
    """
    n = weight[0].numel()
    centred, scale = _centred(weight)
    total, along = total.view_as(scale), along.view_as(scale)
    # as in `standardize_backward_`, where the sum of g * c is along times the scale
    factor = along / ((n - 1) * (scale - EPS) * scale)
    return (grad - total / n) / scale - centred.index_select(1, channels) * factor


def _centred(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the filters without their means, and what standardization divides them by."""
    centred = weight - weight.mean(dim=(1, 2, 3), keepdim=True)
    norm = torch.linalg.vector_norm(centred, dim=(1, 2, 3), keepdim=True)
    return centred, norm / math.sqrt(weight[0].numel() - 1) + EPS  # several times faster than std
