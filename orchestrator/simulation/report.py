"""What a comparison found: a table for people, numbers for programs, and a picture."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from orchestrator.simulation.compare import Contender

SHARE = 0.95  # of the best contender's final hypervolume, which others are timed to
_INSTANTS = 100  # of virtual time at which hypervolume is shown


def standard_error(values: np.ndarray) -> np.ndarray:
    """Returns the standard error of the mean over the first axis; 0 for a single value."""
    count = len(values)
    return values.std(axis=0, ddof=1) / np.sqrt(count) if count > 1 else 0 * values[0]


def target(contenders: Sequence[Contender]) -> float:
    """Returns the hypervolume to reach: a share of the largest that one ends with on average."""
    return SHARE * max(float(contender.final.mean()) for contender in contenders)


def show(console: Console, study: str, contenders: Sequence[Contender]) -> None:
    """Prints a row for each contender of a study."""
    goal = target(contenders)
    table = Table(title=f"Simulated search on {study}", title_justify="left", box=SIMPLE_HEAD)
    for heading in ("sampler", "scheduler"):
        table.add_column(heading, no_wrap=True)
    to_goal = f"trials to {SHARE:.0%} of the best"
    for heading in ("hypervolume", "standard error", to_goal, "epochs", "virtual time (s)"):
        table.add_column(heading, justify="right")
    for contender in contenders:
        trials = contender.trials_to(goal)
        table.add_row(
            contender.sampler,
            contender.scheduler,
            f"{contender.final.mean():.4g}",
            f"{standard_error(contender.final):.2g}",
            "not reached" if trials is None else str(trials),
            f"{contender.epochs.mean():.0f}",
            f"{contender.seconds.mean():.0f}",
        )
    console.print(table)


def numbers(contenders: Sequence[Contender]) -> list[dict[str, Any]]:
    """Returns what `show` and `picture` show, and what each seed ended with."""
    goal, instants = target(contenders), _instants(contenders)
    return [
        {
            "study": contender.study,
            "sampler": contender.sampler,
            "scheduler": contender.scheduler,
            "final_hypervolume": contender.final.tolist(),
            "epochs": contender.epochs.tolist(),
            "seconds": contender.seconds.tolist(),
            "target_hypervolume": goal,
            "trials_to_target": contender.trials_to(goal),
            "by_trials": _curve(contender.by_trials),
            "by_seconds": {"seconds": instants.tolist()} | _curve(contender.at(instants)),
        }
        for contender in contenders
    ]


def picture(contenders: Sequence[Contender], title: str) -> bytes:
    """Returns a PNG: hypervolume against trials and against virtual time, mean and its error.

    A sampler has one colour; with a scheduler its line is dashed.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.5), dpi=160, layout="constrained")
    FigureCanvasAgg(figure)
    by_trials, by_time = figure.subplots(1, 2, sharey=True)
    instants = _instants(contenders)
    samplers = list(dict.fromkeys(contender.sampler for contender in contenders))
    for contender in contenders:
        rows = contender.by_trials
        line = "-" if contender.scheduler == "none" else "--"
        style = f"C{samplers.index(contender.sampler)}{line}"
        _draw(by_trials, np.arange(1, rows.shape[1] + 1), rows, contender.name, style)
        _draw(by_time, instants, contender.at(instants), contender.name, style)
    by_trials.set_xlabel("trials")
    by_trials.set_ylabel("hypervolume")
    by_time.set_xlabel("virtual time (s)")
    for area in (by_trials, by_time):
        area.grid(color="#e6e6e6", linewidth=0.8)
        area.spines[["top", "right"]].set_visible(False)
    best = max(float(contender.final.mean()) for contender in contenders)
    by_trials.set_ylim(0.7 * best, 1.02 * best)
    by_trials.legend(loc="lower right", frameon=False, fontsize=9)
    figure.suptitle(title.replace("$", r"\$"), x=0.01, ha="left", fontweight="bold")
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()


def _draw(area: Any, at: np.ndarray, rows: np.ndarray, name: str, style: str) -> None:
    mean, error = rows.mean(axis=0), standard_error(rows)
    (line,) = area.plot(at, mean, style, linewidth=1.4, label=name)
    area.fill_between(at, mean - error, mean + error, alpha=0.2, color=line.get_color())


def _curve(rows: np.ndarray) -> dict[str, list[float]]:
    return {"mean": rows.mean(axis=0).tolist(), "standard_error": standard_error(rows).tolist()}


def _instants(contenders: Sequence[Contender]) -> np.ndarray:
    last = max(float(contender.seconds.mean()) for contender in contenders)
    return np.linspace(0.0, last, _INSTANTS)
