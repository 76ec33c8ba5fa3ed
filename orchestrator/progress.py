"""How far a sweep is: a live table in a terminal, plain lines elsewhere."""

import itertools
import time
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

from orchestrator.fronts.pareto import shown
from orchestrator.record import EVENTS_FILE
from orchestrator.record.snapshot import Snapshot
from orchestrator.spec.settings import Mode
from orchestrator.sweep import Sweep

_LINE_SECONDS = 10.0  # between two plain lines
_LIVE_SECONDS = 0.5  # between two drawings of the table
_PAUSE = 10  # times as long as it took to show is nothing shown; with many trials it takes a while
_REASONS = 5  # of failed trials that are shown


class Progress:
    """Shows a sweep while it runs; call `update` after each event.

    Args:
        console: Where to.
        sweep: What to show.
    """

    def __init__(self, console: Console, sweep: Sweep) -> None:
        self._console = console
        self._sweep = sweep
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None
        self._due = 0.0

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        self._show()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._show()
        if self._live is not None:
            self._live.stop()

    def update(self) -> None:
        """Shows where the sweep stands, unless that was shown a moment ago."""
        if time.monotonic() >= self._due:
            self._show()

    def _show(self) -> None:
        began = time.monotonic()
        snapshot = self._sweep.snapshot()
        objectives = self._sweep.spec.objectives
        if self._live is not None:
            self._live.update(standing_view(snapshot, objectives), refresh=True)
        else:
            self._console.print(_line(snapshot, objectives), highlight=False, soft_wrap=True)
        ended = time.monotonic()
        seconds = _LINE_SECONDS if self._live is None else _LIVE_SECONDS
        self._due = ended + max(seconds, _PAUSE * (ended - began))


def _line(snapshot: Snapshot, objectives: dict[str, Mode]) -> str:
    parts = [_counts(snapshot)]
    for study in snapshot.points:
        front, volume = snapshot.fronts[study], snapshot.hypervolumes[study]
        best = _best(snapshot, study, objectives)
        parts.append(f"{study}: {best}, front {len(front)}, hypervolume {volume:.3g}")
    return " | ".join([*parts, _time_left(snapshot)])


def standing_view(snapshot: Snapshot, objectives: dict[str, Mode]) -> Table:
    """Returns where a sweep stands, as a table of its studies."""
    table = Table(title=f"{_counts(snapshot)} | {_time_left(snapshot)}", title_justify="left")
    for heading in ("study", "best", "front", "hypervolume"):
        table.add_column(heading)
    for study in snapshot.points:
        table.add_row(
            study,
            _best(snapshot, study, objectives),
            str(len(snapshot.fronts[study])),
            f"{snapshot.hypervolumes[study]:.3g}",
        )
    return table


def show_failures(snapshot: Snapshot, directory: Path, console: Console) -> None:
    """Prints why trials failed, each reason once."""
    trials: dict[str, list[str]] = {}
    for trial, reason in snapshot.failures.items():
        trials.setdefault(reason, []).append(trial)
    for reason, failed in itertools.islice(trials.items(), _REASONS):
        text = f"{len(failed)} failed ({failed[0]}): {reason}"
        console.print(text, style="yellow", markup=False, highlight=False, soft_wrap=True)
    if len(trials) > _REASONS:
        console.print(f"all reasons: {directory / EVENTS_FILE}", style="yellow")


def _counts(snapshot: Snapshot) -> str:
    ended = sum(snapshot.states.values())
    of = "" if snapshot.total is None else f"/{snapshot.total}"
    states = ", ".join(f"{count} {state}" for state, count in snapshot.states.items())
    return (
        f"trials {ended}{of}" + (f" ({states})" if states else "") + f", {snapshot.running} running"
    )


def _best(snapshot: Snapshot, study: str, objectives: dict[str, Mode]) -> str:
    """Returns the best value of the first objective."""
    name, mode = next(iter(objectives.items()))
    values = [point.values[name] for point in snapshot.points[study] if name in point.values]
    if not values:
        return "none complete yet"
    best = max(values) if mode == "max" else min(values)
    unit = " %" if name.endswith("accuracy") else " MB" if name.endswith("bytes") else ""
    return f"best {name} {shown(name, best):.1f}{unit}"


def _time_left(snapshot: Snapshot) -> str:
    passed = timedelta(seconds=int(snapshot.seconds))
    if snapshot.seconds_left is None:
        return f"{passed} passed"
    return f"{passed} passed, about {timedelta(seconds=int(snapshot.seconds_left))} left"
