"""Weight standardization: each output filter of a convolution gets zero mean and unit deviation."""

import torch
from torch import Tensor

EPS = 1e-5


def standardize(weight: Tensor) -> Tensor:
    """Returns `(w - mean) / (std + 1e-5)` per output filter, with the unbiased deviation.

    Args:
        weight: [out, in / groups, k, k].
    """
    deviation, mean = torch.std_mean(weight, dim=(1, 2, 3), keepdim=True)
    return (weight - mean) / (deviation + EPS)


def standardize_backward(grad: Tensor, weight: Tensor) -> Tensor:
    """Returns the gradient of the raw `weight`, given that of the standardized one.

    With d the deviation and n the elements of a filter, the derivative of the quotient gives
    grad_w = (g - mean(g)) / (d + eps) - c * sum(g * c) / ((n - 1) * d * (d + eps)^2),
    where c is the centred filter.
    """
    n = weight[0].numel()
    deviation, mean = torch.std_mean(weight, dim=(1, 2, 3), keepdim=True)
    centred = weight - mean
    scale = deviation + EPS
    along = (grad * centred).sum(dim=(1, 2, 3), keepdim=True)
    shift = centred.mul_(along / ((n - 1) * deviation * scale.square()))
    result = grad - grad.mean(dim=(1, 2, 3), keepdim=True)
    return result.div_(scale).sub_(shift)
