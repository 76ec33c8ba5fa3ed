"""The experiment `paper-accuracy`: the accuracies of Tables 2, 3 and 4, by the paper's recipes.

A cell is one row on one dataset: a sweep of `search_spaces/paper`, five seeds of 50 epochs at scale
full. The other scales train what is on the way there, with few images: that data and weights are
all there, and fit, is better known before days on a GPU. Only full is held against the paper.
"""

import re
from collections.abc import Iterable
from functools import cache
from statistics import fmean, stdev
from typing import Any

from benchmarks.paper.claims import Claim
from benchmarks.paper.experiments.base import FAIL, NOT_RUN, PASS, Experiment, Row, Scale
from benchmarks.paper.experiments.sweeps import in_words, overridden, run_sweep
from benchmarks.paper.results import Cell, Results
from orchestrator.spec.file import read_sweep_file

NAME = "paper-accuracy"
# what a scale puts in place of the recipe
CUTS: dict[Scale, tuple[str, ...]] = {
    Scale.smoke: (
        "search.seeds=1", "train.epochs=1", "train.train_images=64", "train.eval_images=64",
    ),
    Scale.cpu: (
        "search.seeds=3", "train.epochs=3", "train.train_images=1000", "train.eval_images=1000",
    ),
    Scale.full: (),
}  # fmt: skip


def cells(claims: Iterable[Claim], scale: Scale) -> list[Cell]:
    """Returns a cell for each accuracy that can be reproduced."""
    return [cell_of(claim, scale) for claim in claims if claim.experiment == NAME]


def cell_of(claim: Claim, scale: Scale = Scale.full) -> Cell:
    """Returns the cell of an accuracy."""
    words = re.sub(r"[^a-z0-9.+@]+", "-", f"{claim.column} {claim.table} {claim.row}".lower())
    name = words if scale is Scale.full else f"{words}-{scale.value}"
    overrides = [*claim.overrides, *CUTS[scale]]
    return Cell(
        name,
        claim.column,
        {"sweep": overridden(_recipe(claim.recipe), overrides)},
    )


def compare(claim: Claim, results: Results) -> Row:
    """Returns an accuracy beside the mean of the seeds."""
    cell = cell_of(claim)
    command = f"tinytl bench run {NAME} --scale full --only {cell.name} --data DIR --weights DIR"
    found = results.find(cell)
    if found is None:
        tried = (results.problem(cell_of(claim, scale)) for scale in reversed(Scale))
        why = next((problem for problem in tried if problem), "")
        return Row(claim, NOT_RUN, why=why, command=command)
    (row,) = found["numbers"]["rows"]
    accuracies = [100 * value for value in row["metrics"]["test_accuracy"]]
    ours = fmean(accuracies)
    return Row(
        claim,
        PASS if claim.holds(ours) else FAIL,
        ours,
        stdev(accuracies) if len(accuracies) > 1 else None,
        {"saving": {"peak_bytes": max(row["metrics"]["peak_bytes"])}},
        command=command,
        origins=(found["provenance"],),
    )


@cache
def _recipe(name: str) -> dict[str, Any]:
    return read_sweep_file(name)


EXPERIMENT = Experiment(
    NAME,
    "accuracies of Tables 2, 3 and 4 by the paper's recipes",
    cells,
    run_sweep,
    in_words,
    compare,
)
