"""Cells that are sweeps: run like any other, resumed where they were stopped, and read."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.paper.experiments.base import Place, StoppedError
from benchmarks.paper.results import Cell, depends_on
from orchestrator.launch import Launch, launch
from orchestrator.record import SWEEP_FILE
from orchestrator.record.saved import SavedSweep, read_sweep
from orchestrator.spec import SweepSpec
from orchestrator.spec.file import with_overrides
from tinytl.data import places
from tinytl.errors import TrainingError

FOLDER = "sweeps"
Found = dict[str, Any]


def run_sweep(cell: Cell, place: Place) -> Found:
    """Runs the sweep of a cell to its end, or what is left of it, and returns what it found.

    A cell's settings have the sweep file's content, `sweep`, and may have `also`: the name of an
    archive that is taken where the folder of datasets has the sweep's dataset under no name.

    Raises:
        TinyTLError: If something is missing or wrong, or a trial failed.
        StoppedError: If it was stopped.
    """
    raw = cell.settings["sweep"]
    data = _data(place.data, raw["datasets"], cell.settings.get("also"))
    spec = SweepSpec.parse(raw, data=data)
    directory = place.directory / FOLDER / f"{cell.name}-{_digest(cell)}"
    begun = (directory / SWEEP_FILE).exists()
    how = Launch(directory, begun, data, place.weights, place.backend, place.address)
    if not launch(spec, how, place.console):
        raise StoppedError
    return numbers_of(read_sweep(directory))


def overridden(raw: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Returns a sweep file's content with `key=value` texts put in, as on the command line.

    Raises:
        ConfigError: If one of them is no override of a sweep file.
    """
    return with_overrides(raw, overrides, tuple(SweepSpec.model_fields))


def numbers_of(sweep: SavedSweep) -> Found:
    """Returns a finished sweep's trials: those that differ in the seed alone are one row.

    Raises:
        TrainingError: If a trial failed.
    """
    snapshot = sweep.snapshot()
    if snapshot.failures:
        trial, reason = next(iter(snapshot.failures.items()))
        raise TrainingError(
            f"{len(snapshot.failures)} of {snapshot.total} trials failed, {trial} because: "
            f"{reason}; mend that, delete {sweep.directory} and run the cell again"
        )
    rows: dict[str, Found] = {}
    for points in snapshot.points.values():
        for point in points:
            params = {key: value for key, value in point.params.items() if key != "seed"}
            row = rows.setdefault(
                json.dumps(params), {"params": params, "seeds": [], "metrics": {}}
            )
            row["seeds"].append(point.params.get("seed", sweep.spec.search.seed))
            for name, value in point.values.items():
                row["metrics"].setdefault(name, []).append(value)
    return {"directory": sweep.directory.name, "rows": list(rows.values())}


def in_words(numbers: Mapping[str, Any]) -> str:
    """Returns how many configurations were trained, and with how many seeds."""
    seeds = sum(len(row["seeds"]) for row in numbers["rows"])
    return f"{len(numbers['rows'])} configurations, {seeds} trials"


def _data(root: Path | None, datasets: list[str], also: str | None) -> Path | None:
    """Returns the root of the datasets, or the other archive in it that takes their place."""
    if root is None or also is None or any(any(places(name, root)) for name in datasets):
        return root
    return root / also if (root / also).is_file() else root


def _digest(cell: Cell) -> str:
    """Returns a few letters that are others where an earlier sweep is outdated."""
    text = json.dumps(depends_on(cell), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]
