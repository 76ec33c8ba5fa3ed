"""One training step, and the optimizers and learning rates it is taken with."""

import math

import torch
from torch import Tensor, nn

from tinytl.backbones import Network
from tinytl.config import FinetuneConfig
from tinytl.engine.adam8bit import Adam8bit
from tinytl.engine.loss import training_loss


def make_optimizer(network: Network, config: FinetuneConfig) -> torch.optim.Optimizer:
    """Returns the configuration's optimizer over the trained parameters.

    Its updates need no temporary tensors of the parameters' size, and it leaves parameters without
    a gradient alone.
    """
    trained = [p for p in network.parameters() if p.requires_grad]
    return optimizer_of(trained, config)


def optimizer_of(trained: list[nn.Parameter], config: FinetuneConfig) -> torch.optim.Optimizer:
    """Returns the configuration's optimizer over some parameters."""
    rate, decay = config.learning_rate, config.weight_decay
    if config.optimizer == "adam8bit":
        return Adam8bit(trained, lr=rate, weight_decay=decay)
    if config.optimizer == "adam":
        return torch.optim.Adam(trained, lr=rate, weight_decay=decay, fused=True)
    if config.optimizer == "adamw":
        return torch.optim.AdamW(trained, lr=rate, weight_decay=decay, fused=True)
    momentum = 0.9 if config.optimizer == "sgd_momentum" else 0.0
    return torch.optim.SGD(trained, lr=rate, weight_decay=decay, momentum=momentum, fused=True)


def cosine_rate(initial: float, step: int, steps: int) -> float:
    """Returns the learning rate of a step counted from 0, annealed along a half cosine."""
    return initial * 0.5 * (1 + math.cos(math.pi * step / steps))


def training_step(
    network: Network,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    labels: Tensor,
    label_smoothing: float,
) -> Tensor:
    """Takes one step on a batch, and leaves no gradient behind.

    Args:
        network: In training mode.
        optimizer: Over its trained parameters.
        images: [N, 3, H, W].
        labels: int64 [N], or 0 or 1 [N, K] for several labels each.
        label_smoothing: Share of the target's probability spread over all classes.

    Returns:
        The mean loss of the batch, a scalar without a graph.
    """
    loss = training_loss(network(images), labels, label_smoothing)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss.detach()
