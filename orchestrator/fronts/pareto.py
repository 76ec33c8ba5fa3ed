"""Pareto fronts: which trials are on them, their hypervolume, and tables of them.

A front belongs to one study. It is made of complete trials only: an accuracy reached after fewer
epochs, or under another limit, does not compare with the others.
"""

import csv
import html
import io
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import moocore
import numpy as np

from orchestrator.record import Asked, Event, Told

Mode = Literal["max", "min"]
Objectives = Mapping[str, Mode]

METRICS: dict[str, Mode] = {
    "val_accuracy": "max",
    "test_accuracy": "max",
    "peak_bytes": "min",
    "saved_bytes": "min",
    "modeled_bytes": "min",
    "step_seconds": "min",
}
"""What can be an objective, and whether more or less of it is better."""

_LABELS = {
    "val_accuracy": "validation accuracy (%)",
    "test_accuracy": "test accuracy (%)",
    "peak_bytes": "measured training memory (MB)",
    "saved_bytes": "kept for backward (MB)",
    "modeled_bytes": "modeled training memory (MB)",
}
_TABLE_PARAMS = (
    *("method", "resolution", "batch_size"),
    *("sparse_update.blocks", "sparse_update.ratio"),
)
_WIDTH = "lite_residual.width"


@dataclass(frozen=True)
class Point:
    """A complete trial.

    Attributes:
        trial: The trial's name.
        params: Its flat parameters.
        values: Its final metrics; objectives are among them. Bytes are bytes, accuracies in [0, 1].
        confirmations: The final metrics of the complete trials that confirm it: the same with other
            seeds.
    """

    trial: str
    params: dict[str, Any]
    values: dict[str, float]
    confirmations: tuple[dict[str, float], ...] = ()

    def mean(self, metric: str) -> float:
        """Returns the metric's mean over the confirmations, or its value where there are none.

        The value itself is not among them: it was picked as the best of many.
        """
        found = [metrics[metric] for metrics in self.confirmations]
        return statistics.fmean(found) if found else self.values[metric]

    def deviation(self, metric: str) -> float | None:
        """Returns the metric's standard deviation over two or more confirmations, else None."""
        found = [metrics[metric] for metrics in self.confirmations]
        return statistics.stdev(found) if len(found) > 1 else None


def points(events: Iterable[Event]) -> dict[str, list[Point]]:
    """Returns the complete trials of each study in the order in which they were told.

    A study that has asked for a trial is there even where none is complete yet. A trial that
    confirms another is no point of its own.
    """
    asked: dict[str, Asked] = {}
    studies: dict[str, dict[str, Point]] = {}
    for event in events:
        if isinstance(event, Asked):
            asked[event.trial] = event
            studies.setdefault(event.study, {})
        elif isinstance(event, Told) and event.state == "complete" and event.trial in asked:
            trial = asked[event.trial]
            complete = studies[trial.study]
            if trial.confirms is None:
                complete[event.trial] = Point(event.trial, trial.params, event.metrics)
            elif point := complete.get(trial.confirms):
                found = (*point.confirmations, event.metrics)
                complete[point.trial] = replace(point, confirmations=found)
    return {study: list(complete.values()) for study, complete in studies.items()}


def front(candidates: Sequence[Point], objectives: Objectives) -> list[Point]:
    """Returns the points that no other dominates, sorted by the last objective, smallest first.

    Of points with the same objectives the first stays. A point that lacks a finite value for one of
    the objectives cannot be compared and is left out.
    """
    measured = _measured(candidates, objectives)
    if not measured:
        return []
    best = moocore.is_nondominated(
        _matrix(measured, objectives), maximise=[mode == "max" for mode in objectives.values()]
    )
    last = list(objectives)[-1]
    kept = [point for point, is_best in zip(measured, best, strict=True) if is_best]
    return sorted(kept, key=lambda point: point.values[last])


def confirmed_front(best: Sequence[Point], objectives: Objectives) -> list[Point]:
    """Returns the confirmed points of a front whose means no other's means dominate.

    It is empty where none is confirmed. What is not confirmed drives nobody off: its values are
    those of one lucky trial.
    """
    means = [
        replace(point, values={name: point.mean(name) for name in objectives})
        for point in best
        if point.confirmations
    ]
    stay = {point.trial for point in front(means, objectives)}
    return [point for point in best if point.trial in stay]


def reference_point(
    candidates: Sequence[Point], objectives: Objectives, limits: Mapping[str, float]
) -> dict[str, float]:
    """Returns the point from which hypervolume is measured, in the metrics' own units.

    An objective to be maximized (accuracy) is measured from 0; one to be minimized from the sweep's
    limit, or without one from the largest value among the candidates. Two hypervolumes compare only
    if their reference is the same, so a sweep that is to be compared should have limits.
    """
    measured = _measured(candidates, objectives)
    return {
        name: 0.0
        if mode == "max"
        else float(
            limits.get(name, max((point.values[name] for point in measured), default=0.0)),
        )
        for name, mode in objectives.items()
    }


def hypervolume(
    candidates: Sequence[Point], objectives: Objectives, reference: Mapping[str, float]
) -> float:
    """Returns the volume that the points dominate, up to the reference.

    Bytes count as MB, so that accuracy against memory gives an area in MB: the memory that an
    imaginary trial with accuracy 1 would have to save to be worth as much. Points beyond the
    reference add nothing.
    """
    measured = _measured(candidates, objectives)
    if not measured:
        return 0.0
    scales = np.array([_scale(name) if name.endswith("_bytes") else 1.0 for name in objectives])
    return float(
        moocore.hypervolume(
            _matrix(measured, objectives) * scales,
            np.array([reference[name] for name in objectives]) * scales,
            maximise=[mode == "max" for mode in objectives.values()],
        )
    )


def label(metric: str) -> str:
    """Returns the metric's name and unit for people; `shown` gives the value in that unit."""
    if metric in _LABELS:
        return _LABELS[metric]
    if metric.endswith("_bytes"):
        return f"{metric.removesuffix('_bytes').replace('_', ' ')} memory (MB)"
    name = metric.replace("_", " ")
    return f"{name} (%)" if metric.endswith("accuracy") else name


def shown(metric: str, value: float) -> float:
    """Returns the value in the unit of its label: bytes in MB, accuracies in percent."""
    return value * _scale(metric)


def widths(params: Mapping[str, Any]) -> str:
    """Returns the stages' lite residual widths, such as `0.5 1 0 2`, or "" without modules."""
    if _WIDTH in params:
        common = params[_WIDTH]
        return " ".join(
            f"{w:g}" for w in (common if isinstance(common, list | tuple) else [common])
        )
    stages = [name for name in params if name.startswith(f"{_WIDTH}.")]
    stages.sort(key=lambda name: int(name.rpartition(".")[2]))
    return " ".join(f"{params[name]:g}" for name in stages)


def _column(param: str) -> str:
    return param.rpartition(".")[2].replace("_", " ")


def front_table(best: Sequence[Point], objectives: Objectives) -> list[dict[str, str]]:
    """Returns a table for people, row by row: objectives in their shown units, params, trial.

    Where members are confirmed, objectives are mean and standard deviation over the confirming
    seeds, and it says what the search saw of the first one, and whose means others dominate.
    """
    confirmed = confirmed_front(best, objectives)
    names = [name for name in _TABLE_PARAMS if any(name in point.params for point in best)]
    rows = []
    for point in best:
        row = {label(name): measured_text(point, name) for name in objectives}
        if confirmed:
            first = next(iter(objectives))
            row["as searched"] = _digits(shown(first, point.values[first]))
            row["seeds"] = str(len(point.confirmations))
            row["confirmed"] = _verdict(point, confirmed)
        row |= {_column(name): str(point.params.get(name, "")) for name in names}
        rows.append(row | {"widths": widths(point.params), "trial": point.trial})
    if not any(row["widths"] for row in rows):
        for row in rows:
            del row["widths"]
    return rows


def front_markdown(best: Sequence[Point], objectives: Objectives) -> str:
    """Returns `front_table` as a Markdown table, or a sentence where the front is empty."""
    rows = front_table(best, objectives)
    if not rows:
        return "No trial is complete yet."
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(list(row.values()) for row in rows)]
    return "\n".join(f"| {' | '.join(_cell(text) for text in line)} |" for line in lines) + "\n"


def front_csv(best: Sequence[Point], objectives: Objectives) -> str:
    """Returns the front for programs, one line for each row of `front_rows`."""
    rows = front_rows(best, objectives)
    text = io.StringIO()
    names = list(dict.fromkeys(name for row in rows for name in row)) or ["trial", *objectives]
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def front_rows(best: Sequence[Point], objectives: Objectives) -> list[dict[str, Any]]:
    """Returns the front for programs, row by row: trial, objectives as searched, all params.

    Bytes are bytes and accuracies in [0, 1]. Where members are confirmed there are also each
    objective's `.mean` and `.deviation`, the number of `confirmations` they are over, and whether
    the member stays on the front by them, `confirmed`.
    """
    confirmed = confirmed_front(best, objectives)
    rows = []
    for point in best:
        row: dict[str, Any] = {"trial": point.trial}
        row |= {name: point.values[name] for name in objectives}
        if confirmed:
            for name in objectives:
                mean = point.mean(name) if point.confirmations else None
                row |= {f"{name}.mean": mean, f"{name}.deviation": point.deviation(name)}
            row |= {"confirmations": len(point.confirmations), "confirmed": point in confirmed}
        rows.append(row | point.params)
    return rows


def measured_text(point: Point, metric: str) -> str:
    """Returns the metric for people: `78.1 ± 1.3` where it is confirmed and differs by the seed."""
    text = _digits(shown(metric, point.mean(metric)))
    deviation = point.deviation(metric)
    if not deviation:
        return text
    return f"{text} ± {shown(metric, deviation):.{len(text.partition('.')[2])}f}"


def _verdict(point: Point, confirmed: Sequence[Point]) -> str:
    if not point.confirmations:
        return "not yet"
    return "yes" if point in confirmed else "no, falls off"


def _measured(candidates: Sequence[Point], objectives: Objectives) -> list[Point]:
    return [
        point
        for point in candidates
        if all(math.isfinite(point.values.get(name, math.nan)) for name in objectives)
    ]


def _matrix(measured: Sequence[Point], objectives: Objectives) -> np.ndarray:
    rows = [[point.values[name] for name in objectives] for point in measured]
    return np.array(rows, dtype=np.float64)


def _scale(metric: str) -> float:
    if metric.endswith("_bytes"):
        return 1e-6
    return 100.0 if metric.endswith("accuracy") else 1.0


def _digits(value: float) -> str:
    """Three significant digits, but never fewer than the whole part."""
    if value == 0:
        return "0"
    return f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"


def _cell(text: str) -> str:
    return html.escape(" ".join(text.split()), quote=False).replace("|", "\\|")
