"""The event log of a sweep, mirrored into runs of a tracking store.

`trials.jsonl` is the queue. A cursor, a small file beside it, moves on only after an upload, and
every upload may be repeated. So a crash at any point neither loses nor doubles anything.
"""

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Self

from orchestrator.fronts.pareto import Objectives, Point, front, points
from orchestrator.record import SWEEP_FILE, Asked, Event, Reported, read_events
from orchestrator.record.environment import Environment, read_environments
from orchestrator.record.history import History
from orchestrator.tracking.provenance import fixed_settings, study_tags, trial_tags
from orchestrator.tracking.publication import (
    TABLE_TAGS,
    VIEW_TAG,
    chart_view,
    description_tags,
    front_metrics,
    verdicts,
    write_front,
)
from orchestrator.tracking.runs import VERDICT, Run, Runs, Update
from tinytl.storage import write_atomically

CURSOR_FILE = "mlflow.cursor"

Configure = Callable[[Asked], Mapping[str, Any]]

# FINISHED is kept for full fidelity: to filter by it is to see the trials that fronts are made of
_STATUS = {"complete": "FINISHED", "stopped": "KILLED", "infeasible": "FAILED", "failed": "FAILED"}
_WAITING = "SCHEDULED"

_EVENTS_PER_UPLOAD = 500
_SECONDS_BETWEEN_PICTURES = 30.0


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
        configure: Returns all settings of a trial by flat names.
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
        configure: Configure,
    ) -> None:
        self._directory = directory
        self._runs = runs
        self._sweep = sweep
        self._place = store
        self._objectives = objectives
        self._limits = limits
        self._configure = configure
        self._environments = read_environments(directory)
        self._environment_of: dict[str, Environment | None] = {}
        self._parents: dict[str, Run] = {}
        self._verdicts: dict[str, str | None] = {}
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
                self._environment_of[event.trial] = self._environment_at(offset)
                self._offset = offset

    def update(self, last: bool) -> float | None:
        """Uploads what is new; the last time also what can wait, and ends the runs.

        Returns:
            The seconds after which the pictures of the fronts are due, or None if they are not.
        """
        while batch := list(islice(read_events(self._directory, self._offset), _EVENTS_PER_UPLOAD)):
            self._upload(batch)
            self._offset = batch[-1][1]
            self._write_cursor()
            self._stale = True
        if last or (self._stale and time.monotonic() >= self._next_pictures):
            self._publish(last)
        if last:
            self._upload([])  # verdicts that an earlier version left out
            self._end_runs()
        return max(0.0, self._next_pictures - time.monotonic()) if self._stale else None

    def _write_cursor(self) -> None:
        studies = {study: self._parent(study).id for study, _ in self._history.began()}
        cursor = Cursor(self._sweep, self._place, self._offset, self._runs.experiment_id, studies)
        cursor.write(self._directory)

    def _upload(self, events: Sequence[tuple[Event, int]]) -> None:
        updates: dict[str, Update] = {}
        for event, offset in events:
            self._history.add(event)
            update = updates.setdefault(event.trial, Update())
            self._describe_environment(event.trial, self._environment_at(offset), update)
            _describe(event, self._history, update)
        self._describe_verdicts(updates)
        for trial, update in updates.items():
            run = self._run(trial)
            self._runs.log(run, update)
            if update.status is not None:
                self._runs.set_status(self._parent(self._history.asked[trial].study), "RUNNING")
                self._runs.set_status(run, update.status, update.end)

    def _run(self, trial: str) -> Run:
        asked = self._history.asked[trial]
        return self._runs.trial(self._parent(asked.study), asked)

    def _parent(self, study: str) -> Run:
        """Returns the study's run, which is told once for each process what it is of."""
        if study not in self._parents:
            run = self._runs.study(study, dict(self._history.began())[study])
            newest = self._environments[-1] if self._environments else None
            tags = study_tags(self._directory, newest, self._objectives, self._limits)
            self._runs.log(run, Update(tags=tags))
            view = chart_view(run.id, self._objectives)
            self._runs.tag_experiment(f"{VIEW_TAG}{run.id}", view)
            self._parents[study] = run
        return self._parents[study]

    def _environment_at(self, offset: int) -> Environment | None:
        """Returns the environment of the event that ends at this offset."""
        began = [each for each in self._environments if each.offset < offset]
        return began[-1] if began else None

    def _describe_environment(
        self, trial: str, environment: Environment | None, update: Update
    ) -> None:
        """Adds what the trial depends on, once, and again where another process goes on with it."""
        if trial in self._environment_of and self._environment_of[trial] == environment:
            return
        asked = self._history.asked[trial]
        settings = {**self._configure(asked), **asked.params}
        update.params = asked.params | fixed_settings(asked.params, settings)
        update.tags |= trial_tags(trial, self._directory, environment)
        if environment is not None:
            update.inputs += [each for each in environment.inputs if each.is_of(settings)]
        self._environment_of[trial] = environment

    def _describe_verdicts(self, updates: dict[str, Update]) -> None:
        """Adds the verdicts on complete trials that are not in the store as they are now."""
        for complete in points(self._history.ends()).values():
            for trial, verdict in verdicts(complete, self._objectives).items():
                if trial not in self._verdicts:
                    self._verdicts[trial] = self._run(trial).verdict
                if self._verdicts[trial] != verdict:
                    updates.setdefault(trial, Update(status=None)).tags[VERDICT] = verdict
                    self._verdicts[trial] = verdict

    def _publish(self, last: bool) -> None:
        """Renews the pictures of the fronts that have changed; the last time of all that have."""
        complete = points(self._history.ends())
        for study, _ in self._history.began():
            best = front(complete[study], self._objectives)
            ended = sum(1 + len(point.confirmations) for point in complete[study])
            state = ([point.trial for point in best], ended)
            before = self._published.get(study)
            if before is None or before[0] != state[0] or (last and before != state):
                self._publish_front(self._parent(study), study, complete[study], best)
                self._published[study] = state
        self._stale = False
        self._next_pictures = time.monotonic() + _SECONDS_BETWEEN_PICTURES

    def _publish_front(
        self, run: Run, study: str, complete: list[Point], best: list[Point]
    ) -> None:
        with self._runs.artifacts(run) as folder:
            write_front(folder, complete, self._objectives, study)
            if (self._directory / SWEEP_FILE).exists():
                shutil.copyfile(self._directory / SWEEP_FILE, folder / SWEEP_FILE)
        text = description_tags(self._runs.experiment_id, run.id, best, self._objectives)
        update = Update(tags=TABLE_TAGS | text)
        if complete:
            # the time of the newest result, not of now: logged again it is the same metric
            newest = max(self._history.told[point.trial].time for point in complete)
            metrics = front_metrics(complete, best, self._objectives, self._limits)
            update.add(metrics, len(complete), newest)
        self._runs.log(run, update)

    def _end_runs(self) -> None:
        history = self._history
        waiting = [asked for trial, asked in history.asked.items() if trial not in history.told]
        for asked in waiting:
            self._runs.set_status(self._run(asked.trial), _WAITING)
        for study, _ in history.began():
            parent = self._parent(study)
            if any(asked.study == study for asked in waiting):
                self._runs.set_status(parent, _WAITING)
            else:
                ends = [told.time for told in history.told.values()]
                self._runs.set_status(parent, "FINISHED", max(ends))


def params_of(asked: Asked) -> Mapping[str, Any]:
    """Returns the settings of a trial of which nobody knows more than its params."""
    return asked.params


def _describe(event: Event, history: History, update: Update) -> None:
    """Adds an event, the newest of its trial, to the update of the trial's run."""
    if isinstance(event, Asked):
        if event.confirms is not None:
            update.tags["tinytl.confirms"] = event.confirms
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
