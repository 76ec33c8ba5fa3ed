"""What a sweep lost, doubled and left behind, by its record, its MLflow store and its processes."""

import sqlite3
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from benchmarks.systems.faults.scene import SWEEP, Scene
from orchestrator.record import Asked, Event, Reported, Told
from orchestrator.spec import load_spec


@dataclass(frozen=True)
class Outcome:
    """What was found after a fault; all but the first two shall be 0.

    Attributes:
        finished: Trials that had ended when it struck.
        running: Trials that had reported and not ended.
        lost: Finished trials that are not there as they were, and epochs that nobody reported.
        duplicated: Trials told again, epochs reported again, runs of MLflow beyond one for each.
        zombies: Trials and runs of MLflow that never ended, and trials' processes left behind.
        restarted: Trials that had a checkpoint and did not go on from it.
        failed: Trials that are not complete.
    """

    finished: int
    running: int
    lost: int
    duplicated: int
    zombies: int
    restarted: int
    failed: int

    @property
    def is_clean(self) -> bool:
        """Whether nothing was lost, doubled or left behind."""
        return not any((self.lost, self.duplicated, self.zombies, self.restarted, self.failed))


def audit(scene: Scene, before: Sequence[Event]) -> Outcome:
    """Compares a sweep's events when a fault struck with those of its end."""
    after = scene.events()
    asked = {event.trial: event for event in after if isinstance(event, Asked)}
    told = {event.trial: event for event in after if isinstance(event, Told)}
    ended = {event.trial: event for event in before if isinstance(event, Told)}
    reports = Counter((event.trial, event.epoch) for event in after if isinstance(event, Reported))
    tells = Counter(event.trial for event in after if isinstance(event, Told))
    runs = _runs(scene.store)
    (epochs,) = load_spec(str(SWEEP)).values("epochs")
    began = {event.trial for event in before if isinstance(event, Reported)}
    return Outcome(
        finished=len(ended),
        running=len(began - ended.keys()),
        lost=sum(told.get(trial) != event for trial, event in ended.items())
        + sum((trial, epoch) not in reports for trial in asked for epoch in range(1, epochs + 1)),
        duplicated=sum(count - 1 for count in (*reports.values(), *tells.values()))
        + sum(len(states) - 1 for states in runs.values()),
        zombies=len(asked.keys() - told.keys())
        + sum(state != "FINISHED" for states in runs.values() for state in states)
        + sum(name not in runs for name in asked)
        + scene.left,
        restarted=len(scene.bare)
        + sum(_measured_anew(asked[trial], told[trial]) for trial in scene.marked & told.keys()),
        failed=sum(event.state != "complete" for event in told.values()),
    )


def _measured_anew(asked: Asked, told: Told) -> bool:
    """Returns whether a trial whose checkpoint was marked did not go on from it."""
    return told.metrics["peak_bytes"] == asked.predicted_bytes


def _runs(store: Path) -> dict[str, list[str]]:
    """Returns the states of the runs of each trial and study, by its name."""
    found: dict[str, list[str]] = {}
    with closing(sqlite3.connect(store)) as database:
        for name, state in database.execute("select name, status from runs"):
            found.setdefault(name, []).append(state)
    return found
