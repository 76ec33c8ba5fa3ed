"""One trial: a configuration in, a report after every epoch out, in whatever process it runs."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from orchestrator.resources.admission import wait_for_memory, watched_memory
from orchestrator.resources.classes import needed_bytes
from tinytl.config import FinetuneConfig
from tinytl.finetune import EpochReport, epochs


@dataclass(frozen=True)
class TrialRequest:
    """Everything that a process needs to run a trial.

    Attributes:
        trial: The trial's name.
        config: What to train.
        directory: For its checkpoint; on storage that all nodes share.
        data: Root of the datasets.
        weights: Where to look for weights first.
        device: Where to train.
        threads: Processors it may use.
        predicted_bytes: The `peak_bytes` it is expected to measure.
        largest_resolution: Of the sweep's trials, which share the cache of decoded images.
        cache_limit_bytes: The most that cache may keep of a dataset; None for the default.
        alone: Whether nothing else runs beside it, because it ran out of memory before.
    """

    trial: str
    config: FinetuneConfig
    directory: Path
    data: Path | None
    weights: Path | None
    device: str
    threads: int
    predicted_bytes: int
    largest_resolution: int
    cache_limit_bytes: int | None
    alone: bool = False


RunTrial = Callable[[TrialRequest], Iterator[EpochReport]]


def run_trial(request: TrialRequest) -> Iterator[EpochReport]:
    """Yields the reports of a trial, from its checkpoint on where it has one.

    It begins when the memory that it is expected to need is free.

    Raises:
        RanOutOfMemoryError: If there is not as much memory as it turns out to need.
        TinyTLError: As `tinytl.finetune.finetune`.
    """
    torch.set_num_threads(request.threads)
    with watched_memory(request.device):
        wait_for_memory(needed_bytes(request.predicted_bytes, request.device), request.device)
        yield from epochs(
            request.config,
            directory=request.directory,
            data=request.data,
            weights=request.weights,
            device=request.device,
            largest_resolution=request.largest_resolution,
            cache_limit_bytes=request.cache_limit_bytes,
        )


def reason_of(error: Exception) -> str:
    """Returns why a trial failed, in one line."""
    return " ".join(str(error).split()) or type(error).__name__
