"""A run's network again, from its checkpoint: what was trained, and what it was trained in."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tinytl.backbones import Network
from tinytl.checkpoint import read_tensors
from tinytl.config import FinetuneConfig
from tinytl.engine.build import build_network
from tinytl.errors import StorageError, WeightsError
from tinytl.finetune import frozen_norms

_TOLERANCE = 1e-5  # relative, of norms: what another processor may make of the same weights


@dataclass(frozen=True)
class Trained:
    """A run, as its checkpoint tells of it.

    Attributes:
        path: The checkpoint.
        config: What was trained.
        classes: What the outputs stand for; numbers, where the checkpoint is of a version that did
            not write names.
        epoch: How many epochs are finished.
        device: Where it was trained; None where the checkpoint does not say.
        memory: The measured step, by the names of `tinytl.memory.measured.StepMemory`; None where
            none was measured yet.
        metrics: Of the last epoch.
        parameters: What was trained, by name.
        frozen: See `tinytl.finetune.frozen_norms`; empty where the checkpoint has none.
    """

    path: Path
    config: FinetuneConfig
    classes: tuple[str, ...]
    epoch: int
    device: str | None
    memory: Mapping[str, Any] | None
    metrics: Mapping[str, float]
    parameters: Mapping[str, Tensor]
    frozen: Mapping[str, float]


def read_trained(path: Path) -> Trained:
    """Reads a run's checkpoint.

    Raises:
        StorageError: If it is damaged, or no checkpoint of a run.
    """
    state = read_tensors(path, torch.device("cpu"))
    if not {"config", "trained", "epoch", "metrics"} <= state.keys():
        raise StorageError(f"{path} is no checkpoint of a run; give the directory of one")
    outputs = len(state["trained"]["classifier.bias"])
    return Trained(
        path=path,
        config=FinetuneConfig.parse(state["config"]),
        classes=tuple(state.get("classes") or map(str, range(outputs))),
        epoch=state["epoch"],
        device=state.get("device"),
        memory=state.get("memory"),
        metrics=state["metrics"],
        parameters=state["trained"],
        frozen=state.get("frozen") or {},
    )


def restore(trained: Trained, weights: Path | None) -> Network:
    """Returns the network that was trained, in evaluation mode, on the CPU.

    Args:
        trained: The run.
        weights: Where to look first for the weights that it began with.

    Raises:
        WeightsError: If those are missing, or others than it was trained with.
    """
    config = trained.config
    with torch.random.fork_rng(devices=[]):
        # as the run began: what no weights file has is random
        torch.manual_seed(config.seed)
        network = build_network(config, len(trained.classes), weights_directory=weights).network
    _refuse_others(trained, frozen_norms(network))
    parameters = dict(network.named_parameters())
    with torch.no_grad():
        for name, value in trained.parameters.items():
            parameters[name].copy_(value)
    return network.eval()


def _refuse_others(trained: Trained, found: Mapping[str, float]) -> None:
    differing = [
        name
        for name, norm in trained.frozen.items()
        if not math.isclose(norm, found.get(name, math.nan), rel_tol=_TOLERANCE)
    ]
    if differing:
        raise WeightsError(
            f"the {trained.config.weights} weights found here are not those that {trained.path} "
            f"began with: {len(differing)} tensors differ, the first is {differing[0]}; give the "
            "directory of the run's own weights with --weights, or export where it was trained"
        )
