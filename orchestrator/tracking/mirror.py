"""The event log of a sweep, mirrored into runs of a tracking store.

`trials.jsonl` is the queue. A cursor, a small file beside it, moves on only after an upload, and
every upload may be repeated. So a crash at any point neither loses nor doubles anything.
"""

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, Self

from orchestrator.fronts.pareto import (
    Objectives,
    Point,
    front,
    front_markdown,
    hypervolume,
    points,
    reference_point,
)
from orchestrator.fronts.plots import write_pictures
from orchestrator.record import (
    SWEEP_FILE,
    Asked,
    Event,
    Reported,
    read_events,
)
from orchestrator.record.history import History
from tinytl.storage import write_atomically

CURSOR_FILE = "mlflow.cursor"

# FINISHED is kept for full fidelity: to filter by it is to see the trials that fronts are made of
_STATUS = {"complete": "FINISHED", "stopped": "KILLED", "infeasible": "FAILED", "failed": "FAILED"}
_WAITING = "SCHEDULED"

_EVENTS_PER_UPLOAD = 500
_SECONDS_BETWEEN_PICTURES = 30.0


@dataclass
class Run:
    """A run of the store, as this process knows it."""

    id: str
    name: str
    status: str
    artifact_uri: str


@dataclass
class Update:
    """What one upload adds to a run; metrics are (name, value, step, seconds since 1970)."""

    params: dict[str, Any] = field(default_factory=dict)
    metrics: list[tuple[str, float, int, float]] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    status: str = "RUNNING"
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
        """Logs params, metrics and tags."""

    def set_status(self, run: Run, status: str, end: float | None = None) -> None:
        """Sets the run's status, and with an end time ends it, unless that is so already."""

    def artifacts(self, run: Run) -> AbstractContextManager[Path]:
        """Gives a folder whose files become artifacts of the run."""


@dataclass(frozen=True)
class Cursor:
    """How far a sweep's events are uploaded, and where to.

    Attributes:
        sweep: The sweep's id.
        store: The store's URI without user and password; None for the sweep's own.
        offset: Bytes of `trials.jsonl` that are uploaded.
        experiment_id: The MLflow experiment.
        studies: The parent run of each study.
    """

    sweep: str
    store: str | None
    offset: int
    experiment_id: str
    studies: dict[str, str]

    @classmethod
    def read(cls, directory: Path) -> Self | None:
        """Returns the directory's cursor, or None where there is none that can be read."""
        try:
            return cls(**json.loads((directory / CURSOR_FILE).read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, directory: Path) -> None:
        """Replaces the directory's cursor."""
        write_atomically(directory / CURSOR_FILE, json.dumps(asdict(self)))


class Mirror:
    """Brings a store up to date with a sweep's directory.

    Args:
        directory: The sweep's directory.
        runs: The sweep's runs in the store.
        sweep: The sweep's id.
        store: What the cursor calls the store.
        objectives: Metric names and modes.
        limits: The sweep's limits, for the hypervolume's reference.
    """

    def __init__(
        self,
        directory: Path,
        runs: Runs,
        *,
        sweep: str,
        store: str | None,
        objectives: Objectives,
        limits: Mapping[str, float],
    ) -> None:
        self._directory = directory
        self._runs = runs
        self._sweep = sweep
        self._place = store
        self._objectives = objectives
        self._limits = limits
        self._published: dict[str, tuple[list[str], int]] = {}
        self._stale = True
        self._next_pictures = 0.0
        self._history = History()
        self._offset = 0
        cursor = Cursor.read(directory)
        here = (sweep, store, runs.experiment_id)
        if cursor and (cursor.sweep, cursor.store, cursor.experiment_id) == here:
            for event, offset in read_events(directory):
                if offset > cursor.offset:
                    break
                self._history.add(event)
                self._offset = offset

    def update(self, last: bool) -> float | None:
        """Uploads what is new; the last time also what can wait, and ends the runs.

        Returns:
            The seconds after which the pictures of the fronts are due, or None if they are not.
        """
        while batch := list(islice(read_events(self._directory, self._offset), _EVENTS_PER_UPLOAD)):
            self._upload([event for event, _ in batch])
            self._offset = batch[-1][1]
            self._write_cursor()
            self._stale = True
        if last or (self._stale and time.monotonic() >= self._next_pictures):
            self._publish(last)
        if last:
            self._end_runs()
        return max(0.0, self._next_pictures - time.monotonic()) if self._stale else None

    def _write_cursor(self) -> None:
        studies = {
            study: self._runs.study(study, began).id for study, began in self._history.began()
        }
        cursor = Cursor(self._sweep, self._place, self._offset, self._runs.experiment_id, studies)
        cursor.write(self._directory)

    def _upload(self, events: Sequence[Event]) -> None:
        updates: dict[str, Update] = {}
        for event in events:
            self._history.add(event)
            _describe(event, self._history, updates.setdefault(event.trial, Update()))
        for trial, update in updates.items():
            asked = self._history.asked[trial]
            parent = self._runs.study(asked.study, asked.time)
            self._runs.set_status(parent, "RUNNING")
            run = self._runs.trial(parent, asked)
            self._runs.log(run, update)
            self._runs.set_status(run, update.status, update.end)

    def _publish(self, last: bool) -> None:
        """Renews the pictures of the fronts that have changed; the last time of all that have."""
        complete = points(self._history.ends())
        for study, began in self._history.began():
            best = front(complete[study], self._objectives)
            ended = sum(1 + len(point.confirmations) for point in complete[study])
            state = ([point.trial for point in best], ended)
            before = self._published.get(study)
            if before is None or before[0] != state[0] or (last and before != state):
                run = self._runs.study(study, began)
                self._publish_front(run, study, complete[study], best)
                self._published[study] = state
        self._stale = False
        self._next_pictures = time.monotonic() + _SECONDS_BETWEEN_PICTURES

    def _publish_front(
        self, run: Run, study: str, complete: list[Point], best: list[Point]
    ) -> None:
        with self._runs.artifacts(run) as folder:
            write_pictures(folder, complete, self._objectives, study)
            if (self._directory / SWEEP_FILE).exists():
                shutil.copyfile(self._directory / SWEEP_FILE, folder / SWEEP_FILE)
        update = Update(tags={"mlflow.note.content": front_markdown(best, self._objectives)})
        if complete:
            # the time of the newest result, not of now: logged again it is the same metric
            newest = max(self._history.told[point.trial].time for point in complete)
            update.add(self._front_metrics(complete, best), len(complete), newest)
        self._runs.log(run, update)

    def _front_metrics(self, complete: list[Point], best: list[Point]) -> dict[str, float]:
        reference = reference_point(complete, self._objectives, self._limits)
        metrics = {
            "front_size": float(len(best)),
            "hypervolume": hypervolume(complete, self._objectives, reference),
        }
        for name, mode in self._objectives.items() if best else ():
            values = [point.values[name] for point in best]
            metrics[f"best.{name}"] = max(values) if mode == "max" else min(values)
        return metrics

    def _end_runs(self) -> None:
        history = self._history
        waiting = [asked for trial, asked in history.asked.items() if trial not in history.told]
        parents = {study: self._runs.study(study, began) for study, began in history.began()}
        for asked in waiting:
            self._runs.set_status(self._runs.trial(parents[asked.study], asked), _WAITING)
        for study, parent in parents.items():
            if any(asked.study == study for asked in waiting):
                self._runs.set_status(parent, _WAITING)
            else:
                ends = [told.time for told in history.told.values()]
                self._runs.set_status(parent, "FINISHED", max(ends))


def _describe(event: Event, history: History, update: Update) -> None:
    """Adds an event, the newest of its trial, to the update of the trial's run."""
    if isinstance(event, Asked):
        update.params = event.params
        if event.confirms is not None:
            update.tags = {"tinytl.confirms": event.confirms}
        if event.predicted_bytes is not None:
            update.add({"predicted_bytes": event.predicted_bytes}, 0, event.time)
    elif isinstance(event, Reported):
        update.add(event.metrics, event.epoch, event.time)
    else:
        # final metrics that repeat the last epoch's are no second point of its curve
        last = history.reported.get(event.trial, Reported(event.trial, 0, {}))
        news = {k: v for k, v in event.metrics.items() if last.metrics.get(k) != v}
        update.add(news, last.epoch, event.time)
        update.tags |= {"tinytl.state": event.state, "tinytl.reason": event.reason or ""}
        update.status, update.end = _STATUS[event.state], event.time
