"""Fronts for people: as a table, and the best of them under a memory budget."""

from collections.abc import Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.table import Table

from orchestrator.fronts.pareto import Objectives, Point, confirmed_front, front_table
from orchestrator.record.snapshot import Snapshot
from tinytl.errors import ConfigError, unknown_name


def front_view(study: str, best: Sequence[Point], objectives: Objectives) -> Table:
    """Returns a front as a table."""
    rows = front_table(best, objectives)
    table = Table(title=f"Pareto front of {study}", title_justify="left", box=SIMPLE_HEAD)
    for heading in rows[0] if rows else ():
        table.add_column(heading, no_wrap=heading in ("method", "trial"))
    for row in rows:
        table.add_row(*row.values())
    return table


def fronts_of(snapshot: Snapshot, study: str | None) -> dict[str, list[Point]]:
    """Returns the front of each study that has one yet, or of one study.

    Raises:
        ConfigError: If there is no such study, or no trial is complete.
    """
    fronts = {name: best for name, best in snapshot.fronts.items() if study in (None, name)}
    if study is not None and not fronts:
        raise ConfigError(f"--study: {unknown_name('study', study, snapshot.fronts)}")
    found = {name: best for name, best in fronts.items() if best}
    if not found:
        raise ConfigError("no trial is complete yet, so that there is no front; wait for the first")
    return found


def best_within(best: Sequence[Point], objectives: Objectives, budget_bytes: int) -> Point:
    """Returns the member of a front that is best in the first objective within the memory.

    Where members are confirmed, it is one of those that stay on the front, by its means.

    Raises:
        ConfigError: If every member needs more.
    """
    candidates = confirmed_front(best, objectives) or best
    within = [point for point in candidates if point.mean("peak_bytes") <= budget_bytes]
    if not within:
        smallest = min((point.mean("peak_bytes") for point in candidates), default=0)
        raise ConfigError(
            f"--budget: no member of the front trains within {budget_bytes / 1e6:g} MB; the "
            f"smallest needs {smallest / 1e6:.2f} MB"
        )
    name, mode = next(iter(objectives.items()))
    sign = 1 if mode == "max" else -1
    return max(within, key=lambda point: sign * point.mean(name))


def train_command(directory: Path, trial: str) -> list[str]:
    """Returns the words of the command that trains a trial's configuration."""
    return ["tinytl", "train", "--from", f"{directory}:{trial}"]


def export_command(directory: Path, trial: str) -> list[str]:
    """Returns the words of the command that exports what a trial trained."""
    return ["tinytl", "export", f"{directory}:{trial}"]
