"""The sections of a sweep file that are not about parameters."""

import shlex
from collections.abc import Mapping
from typing import Annotated, Literal, Self, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from orchestrator.fronts.pareto import Mode
from tinytl.sizes import parse_bytes

Sampler = Literal["memory_aware", "nsga2", "nsga3", "tpe", "gp", "qmc", "random", "grid"]
Scheduler = Literal["none", "halving"]
SAMPLERS: tuple[str, ...] = get_args(Sampler)
SCHEDULERS: tuple[str, ...] = get_args(Scheduler)
MEMORY_AWARE_OBJECTIVES: dict[str, Mode] = {"val_accuracy": "max", "peak_bytes": "min"}


class Section(BaseModel):
    """A part of a sweep file; nothing is converted silently, and no key is ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class HalvingSettings(Section):
    """When scheduler `halving` stops trials.

    Attributes:
        grace_epochs: Before the end of this epoch no trial is stopped.
        reduction: Each rung is so many times as far from the start as the one before.
        share: About this share of all epochs is trained; who goes on at a rung follows from it.
    """

    grace_epochs: Annotated[int, Field(ge=1)] = 1
    reduction: Annotated[int, Field(ge=2, le=10)] = 2
    share: Annotated[float, Field(gt=0, lt=1)] = 0.45


class SearchSettings(Section):
    """How a study searches.

    Attributes:
        sampler: Who suggests parameters; `grid` runs every possible trial. Where none is named it
            is `memory_aware` for accuracy against peak memory, and `nsga2` otherwise.
        trials: How many trials each study runs; None runs all of a grid.
        seeds: With how many seeds a grid trains each configuration: seed, seed + 1, ...
        seed: Seeds the sampler and the training.
        warm_start: Directory of an earlier sweep, from whose trials the sampler learns; they are
            none of this sweep's.
        scheduler: Who stops trials early.
        halving: How scheduler `halving` does.
        workers: How many trials run at once; None runs as many as there are processors for.
        threads: Processors of each trial. A kernel's scratch memory grows with them, so they are
            the same for all trials of a front.
    """

    sampler: Sampler = "nsga2"
    trials: Annotated[int, Field(ge=1)] | None = None
    seeds: Annotated[int, Field(ge=1)] = 1
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    warm_start: Annotated[str, Field(min_length=1)] | None = None
    scheduler: Scheduler = "none"
    halving: HalvingSettings = HalvingSettings()
    workers: Annotated[int, Field(ge=1)] | None = None
    threads: Annotated[int, Field(ge=1, le=1024)] = 1

    def with_sampler(self, objectives: Mapping[str, Mode]) -> Self:
        """Returns the settings with the sampler for these objectives, unless one was named."""
        if "sampler" in self.model_fields_set or dict(objectives) != MEMORY_AWARE_OBJECTIVES:
            return self
        return self.model_copy(update={"sampler": "memory_aware"})


class Limits(Section):
    """Bounds of a sweep.

    Attributes:
        peak_bytes: A trial that needs more in a training step is infeasible.
        hours: After this time no trial is started.
    """

    peak_bytes: Annotated[int, BeforeValidator(parse_bytes), Field(gt=0)] | None = None
    hours: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None

    def of_metrics(self) -> dict[str, float]:
        """Returns the metrics that have a limit."""
        return {} if self.peak_bytes is None else {"peak_bytes": float(self.peak_bytes)}


class Tracking(Section):
    """Where the sweep can be looked at.

    Attributes:
        experiment: Name of the MLflow experiment; None takes the sweep's name.
        uri: Address of an MLflow server; None keeps a database in the sweep's directory.
    """

    experiment: Annotated[str, Field(min_length=1)] | None = None
    uri: Annotated[str, Field(min_length=1)] | None = None


def parse_command(text: str) -> str:
    """Returns the text if it is a command: words, in quotes where they have spaces.

    Raises:
        PydanticCustomError: If it is empty, or a quote is not closed.
    """
    try:
        words = shlex.split(text)
    except ValueError:
        words = []
    if not words:
        raise PydanticCustomError(
            "command", "must be a command with each quote closed, such as 'notify-send ended'"
        )
    return text
