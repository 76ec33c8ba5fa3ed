"""Loss and accuracy, for images of one class each and for images with several labels."""

import torch.nn.functional as F
from torch import Tensor


def training_loss(logits: Tensor, labels: Tensor, label_smoothing: float) -> Tensor:
    """Returns the mean cross entropy of a batch.

    Args:
        logits: [N, K].
        labels: Classes, int64 [N]; or for several labels each, 0 or 1 [N, K].
        label_smoothing: Share of the target's probability spread over all classes; with several
            labels each, over 0 and 1.
    """
    if labels.ndim == 1:
        return F.cross_entropy(logits, labels, label_smoothing=label_smoothing)
    targets = labels.to(logits.dtype) * (1 - label_smoothing) + label_smoothing / 2
    return F.binary_cross_entropy_with_logits(logits, targets)


def correct(logits: Tensor, labels: Tensor) -> float:
    """Returns how many images are classified right; with several labels each, the sum of shares.

    Args:
        logits: [N, K].
        labels: Classes, int64 [N]; or for several labels each, 0 or 1 [N, K].
    """
    if labels.ndim == 1:
        return float((logits.argmax(dim=1) == labels).sum())
    right = (logits > 0) == labels.bool()
    return float(right.double().mean(dim=1).sum())
