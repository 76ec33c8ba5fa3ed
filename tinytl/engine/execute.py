"""How training steps are executed, as the configuration says."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tinytl.backbones import Network
from tinytl.config import FinetuneConfig
from tinytl.engine.planned.planner import Choice, choose
from tinytl.engine.planned.step import PlannedStep
from tinytl.engine.step import optimizer_of, training_step
from tinytl.memory.marks import tensors
from tinytl.memory.measured import stored_bytes

Step = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Planned:
    """A plan for a configuration.

    Attributes:
        choice: The plan, and what it will cost.
        peak_bytes: What its step will measure: all that is resident, and the plan's own.
    """

    choice: Choice
    peak_bytes: int


def make_step(network: Network, optimizer: torch.optim.Optimizer, config: FinetuneConfig) -> Step:
    """Returns what takes a training step on images [N, 3, H, W] and labels and returns the loss.

    Args:
        network: Of the configuration, in training mode, on the device that trains.
        optimizer: Over its trained parameters.
        config: What is executed.

    Raises:
        ConfigError: If no plan keeps the configuration's bounds.
    """
    smoothing = config.label_smoothing
    if config.execution != "planned":
        return lambda images, labels: training_step(network, optimizer, images, labels, smoothing)
    planned = PlannedStep(network, optimizer, plan(network, config).choice.plan)
    return lambda images, labels: planned(images, labels, smoothing)


def plan(network: Network, config: FinetuneConfig) -> Planned:
    """Returns the plan of a configuration whose execution is planned.

    Args:
        network: Of the configuration, on the device that trains.
        config: Its bounds, batch size, resolution and optimizer.

    Raises:
        ConfigError: If the network cannot be streamed, or no plan keeps the bounds.
    """
    size = (config.batch_size, 3, config.resolution, config.resolution)
    parameter = network.classifier.weight
    images = torch.zeros(size, dtype=torch.uint8, device=parameter.device)
    labels = torch.zeros(config.batch_size, dtype=torch.int64)
    resident = stored_bytes([*network.parameters(), *network.buffers(), images, labels])
    resident += sum(_state_bytes(p, config) for p in network.parameters() if p.requires_grad)
    choice = choose(
        network,
        images,
        resident_bytes=resident,
        memory_budget=config.memory_budget,
        max_slowdown=config.max_slowdown,
    )
    return Planned(choice, resident + choice.step_bytes)


def _state_bytes(parameter: nn.Parameter, config: FinetuneConfig) -> int:
    """Returns the bytes of an optimizer's state for a parameter, of which it updates a copy."""
    copy = nn.Parameter(torch.zeros_like(parameter))
    copy.grad = torch.zeros_like(copy)
    optimizer = optimizer_of([copy], config)
    optimizer.step()
    return stored_bytes(tensors(optimizer.state.values()))
