"""Chooses how a training step is executed: within a budget of bytes, or of time."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import product

import torch
from torch import Tensor

from tinytl.backbones import Network
from tinytl.engine.planned.block import blocks_of
from tinytl.engine.planned.costs import MEMO, Costs
from tinytl.engine.planned.plan import Part, Plan
from tinytl.engine.planned.prediction import step_bytes, step_work
from tinytl.errors import ConfigError

# each tile of a GPU costs launches of kernels, and takes little of its memory
_TILES = {
    "cpu": (250_000, 500_000, 1_000_000, 4_000_000),
    "cuda": (1_000_000, 4_000_000, 16_000_000, 64_000_000),
}
_IMAGES = (1, 2, 4)
_GROUPS = (1, 2, 4)


@dataclass(frozen=True)
class Choice:
    """A plan and what it will cost.

    Attributes:
        plan: Of the training step.
        slowdown: Its work, as a multiple of the least that was considered.
    """

    plan: Plan
    slowdown: float
    _step_bytes: Callable[[], int] = field(repr=False)

    @cached_property
    def step_bytes(self) -> int:
        """The highest sum of what the step will allocate; with what is resident, the peak.

        Only computed where it is asked for, as blocks have to be measured for it.
        """
        return self._step_bytes()


def choose(
    network: Network,
    images: Tensor,
    *,
    resident_bytes: int,
    memory_budget: int | None = None,
    max_slowdown: float | None = None,
) -> Choice:
    """Returns the fastest plan within a budget; without one, the smallest within a slowdown.

    Args:
        network: Converted by `tinytl.engine.convert`, with its trained parameters marked.
        images: A batch [N, 3, H, W] of the shape to plan for; its values do not matter.
        resident_bytes: What is there between steps.
        memory_budget: What that and a step's own bytes may be together; None for no bound.
        max_slowdown: See `Choice.slowdown`; None for no bound.

    Raises:
        ConfigError: If the network cannot be streamed, or no plan keeps the bounds.
    """
    try:
        return _chosen(
            costs_of(network, images), len(images), resident_bytes, memory_budget, max_slowdown
        )
    finally:
        MEMO.save()


def _chosen(
    costs: Costs,
    batch: int,
    resident_bytes: int,
    memory_budget: int | None,
    max_slowdown: float | None,
) -> Choice:
    slowest = math.inf if max_slowdown is None else max_slowdown
    allowed = [c for c in considered(costs, batch) if c.slowdown <= slowest]
    if memory_budget is None:
        return min(allowed, key=lambda choice: (choice.step_bytes, choice.slowdown))
    for choice in allowed:
        if resident_bytes + choice.step_bytes <= memory_budget:
            return choice
    raise _over_budget(allowed, resident_bytes, memory_budget, slowest)


def costs_of(network: Network, images: Tensor) -> Costs:
    """Returns what the blocks of a network cost for images [N, 3, H, W] of this size.

    Raises:
        ConfigError: If the network cannot be streamed.
    """
    blocks, head = blocks_of(network)
    trained = [index for index, block in enumerate(blocks) if block.parameters]
    lowest = min(trained, default=len(blocks))
    return Costs(blocks, head, torch.zeros_like(images[:1]), lowest=lowest)


def considered(costs: Costs, batch: int) -> list[Choice]:
    """Returns all plans that are considered for a batch of so many images, the fastest first."""
    count = len(costs.blocks)
    keeps = (False, True) if any(block.lite_residual for block in costs.blocks) else (False,)
    plans = [
        Plan(parts, tile_bytes, kept, held)
        for parts, tile_bytes, kept in product(
            _partitions(count, batch), _TILES[costs.device.type], keeps
        )
        for held in ((True, False) if not kept and _is_single(parts[0]) else (True,))
    ]
    work = [step_work(plan, costs, batch) for plan in plans]
    choices = [
        Choice(plan, amount / min(work), partial(step_bytes, plan, costs, batch))
        for plan, amount in zip(plans, work, strict=True)
    ]
    return sorted(choices, key=lambda choice: choice.slowdown)


def _partitions(blocks: int, batch: int) -> Iterator[tuple[Part | int, ...]]:
    """Yields ways to cut the blocks: early ones for few images at a time, late ones in groups.

    Early blocks have large activations and few weights, late ones small activations and many
    weights, whose updates come directly after their gradients where a group takes the whole batch.
    """
    for early in range(blocks + 1):
        for images in _IMAGES if early else (1,):
            if early and images >= batch:
                continue
            first = (Part(tuple(range(early)), images),) if early else ()
            for size in _GROUPS:
                groups = [
                    tuple(range(start, min(start + size, blocks)))
                    for start in range(early, blocks, size)
                ]
                rest = (g[0] if size == 1 else Part(g, batch) for g in groups)
                yield (*first, *rest)


def _is_single(part: Part | int) -> bool:
    """Returns whether a part is computed image by image, as the smallest plans have it."""
    return isinstance(part, Part) and part.images == 1


def _over_budget(
    choices: list[Choice], resident_bytes: int, memory_budget: int, slowest: float
) -> ConfigError:
    """Says in a sentence why a budget cannot be met, and what would meet it."""
    smallest = min(choices, key=lambda choice: (choice.step_bytes, choice.slowdown))
    least = resident_bytes + smallest.step_bytes
    needs = f"{least / 1e6:.1f} MB, of which {resident_bytes / 1e6:.1f} MB are there between steps"
    within = "" if slowest == math.inf else f" within max_slowdown {slowest:g}"
    return ConfigError(
        f"memory_budget: must be at least {math.ceil(least / 1e5) / 10} MB for this configuration"
        f"{within}, but got {memory_budget / 1e6:g} MB: the smallest step needs {needs}; raise it, "
        "or take frozen_weights, optimizer: adam8bit or sgd, a smaller resolution, batch_size or "
        "lite_residual.width"
    )
