"""Where a sweep stands, by its events."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.fronts.pareto import Point, front, hypervolume, points, reference_point
from orchestrator.record import Asked, State
from orchestrator.record.history import History
from orchestrator.spec import SweepSpec


@dataclass(frozen=True)
class Snapshot:
    """What people want to know of a sweep.

    Attributes:
        states: How many trials ended in each state.
        failures: Why each failed trial did.
        unfinished: Trials that were asked for and have not ended, each with its last epoch.
        running: How many of them do not wait for a free process.
        total: Trials the sweep will ask for at most, or None where nobody counted them.
        points: The complete trials of each study.
        fronts: Each study's front.
        hypervolumes: Each study's hypervolume.
        seconds: Time since the process that runs the sweep began.
        seconds_left: Time until the sweep ends, at the pace since the first report; None where that
            or the number of trials is not known.
    """

    states: Mapping[State, int]
    failures: Mapping[str, str]
    unfinished: Mapping[str, int]
    running: int
    total: int | None
    points: Mapping[str, list[Point]]
    fronts: Mapping[str, list[Point]]
    hypervolumes: Mapping[str, float]
    seconds: float
    seconds_left: float | None


def snapshot(spec: SweepSpec, history: History, now: float, *, waiting: int = 0) -> Snapshot:
    """Returns where a sweep stands.

    Args:
        spec: The sweep file.
        history: All events so far.
        now: In seconds since 1970.
        waiting: How many unfinished trials wait for a free process, where that is known.
    """
    complete = points(history.ends())
    objectives, limits = spec.objectives, spec.limits.of_metrics()
    states = Counter(told.state for told in history.told.values())
    return Snapshot(
        states={state: states[state] for state in sorted(states)},
        failures={
            trial: told.reason or ""
            for trial, told in history.told.items()
            if told.state == "failed"
        },
        unfinished=history.unfinished,
        running=len(history.unfinished) - waiting,
        total=_total(spec, history),
        points=complete,
        fronts={study: front(found, objectives) for study, found in complete.items()},
        hypervolumes={
            study: hypervolume(found, objectives, reference_point(found, objectives, limits))
            for study, found in complete.items()
        },
        seconds=now - history.since,
        seconds_left=_seconds_left(spec, history, now),
    )


def epochs_of(spec: SweepSpec, asked: Asked) -> int:
    """Returns how many epochs a trial has."""
    return int(asked.params.get("epochs") or max(spec.values("epochs")))


def _total(spec: SweepSpec, history: History) -> int | None:
    known = [count for count in (spec.space.size(), spec.search.trials) if count is not None]
    confirming = sum(asked.confirms is not None for asked in history.asked.values())
    return min(known) * len(spec.datasets) + confirming if known else None


def _seconds_left(spec: SweepSpec, history: History, now: float) -> float | None:
    total = _total(spec, history)
    if total is None or history.epochs < 2:
        return None
    epochs = max(spec.values("epochs")) * max(0, total - len(history.asked))
    for trial, epoch in history.unfinished.items():
        epochs += epochs_of(spec, history.asked[trial]) - epoch
    return (now - history.first_report) / (history.epochs - 1) * epochs
