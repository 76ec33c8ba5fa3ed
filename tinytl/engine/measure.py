"""Measures one training step of a configuration on random images."""

import torch

from tinytl.backbones import Network
from tinytl.config import FinetuneConfig
from tinytl.engine.execute import make_step
from tinytl.engine.step import make_optimizer
from tinytl.memory.measured import StepMemory, measure_step


def measure(network: Network, config: FinetuneConfig) -> StepMemory:
    """Returns the memory of a training step of `network`, whose parameters it changes.

    The numbers depend on shapes alone, so random images give what real ones do.

    Args:
        network: Of the configuration, in training mode, on the device to measure.
        config: Batch size, resolution and optimizer.
    """
    device = next(network.parameters()).device
    size = (config.batch_size, 3, config.resolution, config.resolution)
    images = torch.randint(256, size, dtype=torch.uint8, device=device)
    labels = torch.randint(network.classifier.out_features, (config.batch_size,), device=device)
    optimizer = make_optimizer(network, config)
    take = make_step(network, optimizer, config)

    def step() -> None:
        take(images, labels)

    step()  # creates the optimizer's state, which is resident from here on
    return measure_step(step, network=network, optimizer=optimizer, inputs=(images, labels))
