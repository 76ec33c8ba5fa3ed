"""The runs of a sweep in a tracking store, as the mirror asks for them."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from orchestrator.record import Asked
from orchestrator.record.environment import Input

VERDICT = "pareto"  # the tag of complete trials: `front` or `dominated`


@dataclass
class Run:
    """A run of the store, as this process knows it; the verdict is its tag `pareto`."""

    id: str
    name: str
    status: str
    artifact_uri: str
    verdict: str | None = None


@dataclass
class Update:
    """What one upload adds to a run; metrics are (name, value, step, seconds since 1970).

    Without a status the run keeps the one that it has.
    """

    params: dict[str, Any] = field(default_factory=dict)
    metrics: list[tuple[str, float, int, float]] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    inputs: list[Input] = field(default_factory=list)
    status: str | None = "RUNNING"
    end: float | None = None

    def add(self, metrics: Mapping[str, float], step: int, at: float) -> None:
        """Adds metrics of one step."""
        self.metrics += [(name, value, step, at) for name, value in metrics.items()]


class Runs(Protocol):
    """The runs of one sweep in a store; each call may be repeated without doubling anything."""

    experiment_id: str

    def study(self, study: str, began: float) -> Run:
        """Returns the study's parent run, created if it is not there."""

    def trial(self, parent: Run, asked: Asked) -> Run:
        """Returns the trial's run below its study's, created if it is not there."""

    def log(self, run: Run, update: Update) -> None:
        """Logs params, metrics, tags and inputs."""

    def set_status(self, run: Run, status: str, end: float | None = None) -> None:
        """Sets the run's status, and with an end time ends it, unless that is so already."""

    def tag_experiment(self, name: str, value: str) -> None:
        """Sets a tag of the experiment."""

    def artifacts(self, run: Run) -> AbstractContextManager[Path]:
        """Gives a folder whose files become artifacts of the run."""
