"""What was found beside the paper: every claim, and the order of the methods in every study."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from math import hypot, sqrt
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from benchmarks.paper.claims import Claim
from benchmarks.paper.experiments import EXPERIMENTS, smoke
from benchmarks.paper.experiments.base import NOT_YET, Row, Scale
from benchmarks.paper.experiments.sweeps import FOLDER
from benchmarks.paper.results import Cell, Results
from tinytl.methods import METHODS

HOLDS, REVERSED, TOO_CLOSE = "holds", "reversed", "too close to tell"


@dataclass(frozen=True)
class Trained:
    """A method as it was trained in a study, at one resolution.

    Attributes:
        method: Its name.
        paper: The paper's accuracy that it is laid beside, in percent; None for a method that the
            paper does not have.
        accuracies: Of the test images, in percent, by seed.
        metrics: The other metrics, which are the same for all seeds, as those of the first.
    """

    method: str
    paper: float | None
    accuracies: tuple[float, ...]
    metrics: Mapping[str, float]

    @property
    def label(self) -> str:
        """Its name in the paper's tables."""
        return METHODS[self.method].label

    @property
    def mean(self) -> float:
        """Mean accuracy."""
        return fmean(self.accuracies)

    @property
    def deviation(self) -> float:
        """Standard deviation over the seeds; 0 for a single one."""
        return stdev(self.accuracies) if len(self.accuracies) > 1 else 0.0

    @property
    def error(self) -> float:
        """Standard error of the mean."""
        return self.deviation / sqrt(len(self.accuracies))


@dataclass(frozen=True)
class Step:
    """Two methods that are neighbours in the paper's order.

    Attributes:
        lower: Of the smaller accuracy in the paper.
        upper: Of the larger one.
    """

    lower: Trained
    upper: Trained

    @property
    def papers_gap(self) -> float:
        """By how many points it is above it in the paper."""
        return (self.upper.paper or 0.0) - (self.lower.paper or 0.0)

    @property
    def gap(self) -> float:
        """By how many points the upper one's mean is above the lower one's."""
        return self.upper.mean - self.lower.mean

    @property
    def error(self) -> float:
        """Standard error of the gap."""
        return hypot(self.lower.error, self.upper.error)

    @property
    def verdict(self) -> str:
        """Whether the paper's order holds: a gap of less than two standard errors tells nothing."""
        if abs(self.gap) < 2 * self.error:
            return TOO_CLOSE
        return HOLDS if self.gap > 0 else REVERSED


@dataclass(frozen=True)
class Study:
    """What a study found, or why nothing.

    Attributes:
        cell: Of the experiment.
        about: What is trained on what.
        beside: What of the paper it is laid beside, in words.
        trained: By resolution, in the paper's order of accuracy, and then the methods that the
            paper does not have; empty where nothing was found.
        why: Why it could not be run, as far as that was tried.
        directory: The sweep's, below the results'.
        origins: Where the numbers were found.
    """

    cell: Cell
    about: str
    beside: str
    trained: Mapping[int, Sequence[Trained]]
    why: str = ""
    directory: str = ""
    origins: tuple[Mapping[str, Any], ...] = ()

    @property
    def command(self) -> str:
        """Runs it again."""
        return f"tinytl bench run {smoke.NAME} --only {self.cell.name} --data DIR --weights DIR"


def compare(claims: Iterable[Claim], out: Path) -> list[Row]:
    """Returns a row for each claim; results that are outdated count as not run."""
    return [_row(claim, out) for claim in claims]


def studies(claims: Sequence[Claim], out: Path) -> list[Study]:
    """Returns each study of `paper-smoke`, at the largest scale that it was run at."""
    results = Results(out / smoke.NAME)
    return [_study(name, claims, results) for name in smoke.study_files()]


def steps(trained: Sequence[Trained]) -> list[Step]:
    """Returns the neighbours of the paper's order."""
    return [Step(lower, upper) for lower, upper in pairwise(_of_the_paper(trained))]


def pairs_in_order(trained: Sequence[Trained]) -> tuple[int, int]:
    """Returns how many pairs of methods come in the paper's order, and how many there are."""
    pairs = list(combinations(_of_the_paper(trained), 2))
    return sum(upper.mean > lower.mean for lower, upper in pairs), len(pairs)


def _of_the_paper(trained: Sequence[Trained]) -> list[Trained]:
    return [each for each in trained if each.paper is not None]


def _row(claim: Claim, out: Path) -> Row:
    if claim.not_yet:
        return Row(claim, NOT_YET)
    experiment = EXPERIMENTS[claim.experiment]
    if experiment.compare is None:
        raise ValueError(f"{claim.name}: no claim can be of the experiment {experiment.name}")
    return experiment.compare(claim, Results(out / experiment.name))


def _study(name: str, claims: Sequence[Claim], results: Results) -> Study:
    file = smoke.study_files()[name]
    cells = [smoke.cell_of(name, scale) for scale in reversed(Scale) if scale in file.scales]
    beside = f"Table 2, {file.column}" if file.column else "Table 2, mean of its datasets"
    for cell in cells:
        if found := results.find(cell):
            return Study(
                cell,
                file.about,
                beside,
                _by_resolution(found["numbers"]["rows"], _papers(claims, file.column)),
                directory=f"{smoke.NAME}/{FOLDER}/{found['numbers']['directory']}",
                origins=(found["provenance"],),
            )
    tried = (problem for problem in map(results.problem, cells) if problem)
    return Study(cells[-1], file.about, beside, {}, why=next(tried, ""))


def _by_resolution(
    rows: Iterable[Mapping[str, Any]], papers: Mapping[str, float]
) -> dict[int, list[Trained]]:
    found: dict[int, list[Trained]] = {}
    for row in rows:
        params, metrics = row["params"], row["metrics"]
        trained = Trained(
            params["method"],
            papers.get(params["method"]),
            tuple(100 * value for value in metrics["test_accuracy"]),
            {name: values[0] for name, values in metrics.items()},
        )
        found.setdefault(params["resolution"], []).append(trained)
    return {
        size: sorted(found[size], key=lambda each: (each.paper is None, each.paper or 0.0))
        for size in sorted(found)
    }


def _papers(claims: Iterable[Claim], column: str) -> dict[str, float]:
    """Returns Table 2's accuracy of each method: of a column, or the mean of all."""
    by_label: dict[str, list[float]] = {}
    for claim in claims:
        is_accuracy = (claim.table, claim.quantity) == ("Table 2", "accuracy")
        if is_accuracy and column in ("", claim.column):
            by_label.setdefault(claim.row, []).append(claim.value)
    labels = {method.label: name for name, method in METHODS.items()}
    return {labels[row]: fmean(values) for row, values in by_label.items() if row in labels}
