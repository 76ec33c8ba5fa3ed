"""The sections of a report, whatever it is written as: studies, methods elsewhere, claims.

Texts may hold `code` between backticks.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from benchmarks.paper.comparison import Step, Study, Trained, pairs_in_order, steps
from benchmarks.paper.experiments import memory
from benchmarks.paper.experiments.base import NOT_RUN, NOT_YET, Row
from benchmarks.paper.others import load_others
from benchmarks.paper.report.findings import Findings, summary

TITLE = "The paper's figures, reproduced"
ABOUT = (
    "*ours* is what the paper's number is held against: for memory the modeled bytes, which is the "
    "paper's own way of counting. What a training step really took stands beside it, in MB (10^6 "
    "bytes), everything counted: plain is stock PyTorch, saving the same step with layers that "
    "keep only what gradients need, planned a step within a budget, whose frozen weights are "
    "stored in 8 bits. The paper's count leaves out gradients, optimizer state, scratch memory and "
    "what the exact gradient of GroupNorm needs, so measured and modeled are not the same quantity."
)
_CLAIM_HEADINGS = (
    "row", "column", "unit", "paper", "tolerance", "ours", "difference", "result",
    "measured plain", "measured saving", "measured planned", "why, and how to run it",
)  # fmt: skip
_METHOD_HEADINGS = (
    "method", "pixels", "paper (%)", "ours (%)", "measured (MB)", "times less than FT-Full",
    "paper's count (MB)", "ms a step",
)  # fmt: skip
_OTHER_HEADINGS = ("method", "result", "published, not measured here", "what it does, and where")
_ORDER_HEADINGS = (
    "in the paper's order", "pixels", "paper (points)", "ours (points)", "standard error", "result"
)  # fmt: skip


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        headings: Of the columns.
        rows: Texts, as many in each as there are headings.
        states: What each row is marked as.
    """

    headings: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    states: Sequence[str]


@dataclass(frozen=True)
class Section:
    """A part of the report.

    Attributes:
        title: Its heading.
        summary: What it says in a line.
        paragraphs: Above the tables.
        tables: In their order.
        opened: Whether it is there to be read; otherwise to be looked up.
        study: Whose plots belong to it.
    """

    title: str
    summary: str
    tables: Sequence[Table]
    paragraphs: Sequence[str] = ()
    opened: bool = True
    study: Study | None = None


def sections(findings: Findings) -> list[Section]:
    """Returns the sections: the studies, then the claims by table and quantity."""
    return [*map(_study, findings.studies), *_others(), *_claims(findings.rows)]


def provenance(findings: Findings) -> list[str]:
    """Returns a line for each machine, commit and set of versions that numbers come from."""
    lines: dict[str, list[str]] = {}
    for origin in findings.origins():
        packages = ", ".join(f"{name} {number}" for name, number in origin["packages"].items())
        changed = " with uncommitted changes" if origin["uncommitted_changes"] else ""
        line = (
            f"commit {origin['commit'] or 'unknown'}{changed}; {packages}; Python "
            f"{origin['python']}; {origin['system']}, {origin['processor']}, {origin['cpus']} "
            f"processors; measured on {origin['device']}"
        )
        lines.setdefault(line, []).append(origin["when"])
    if not lines:
        return ["nothing has been run yet: `tinytl bench run paper-memory`"]
    return [f"{line}; from {min(times)} to {max(times)}" for line, times in lines.items()]


def _others() -> Iterator[Section]:
    """Yields what is published of methods that are not here yet."""
    rows = [
        (
            f"{method.name} ({method.venue})",
            NOT_YET,
            "; ".join(map(str, method.published)),
            f"{method.what}; {method.source}",
        )
        for method in load_others()
    ]
    table = Table(_OTHER_HEADINGS, rows, [NOT_YET] * len(rows))
    yield Section("Other methods", f"{len(rows)} not yet", [table], opened=False)


def _claims(rows: Sequence[Row]) -> Iterator[Section]:
    for (table, quantity), group in groupby(
        rows, lambda row: (row.claim.table, row.claim.quantity)
    ):
        same = list(group)
        # what nobody has run is there to be looked up
        opened = any(row.state not in (NOT_YET, NOT_RUN) for row in same)
        texts = Table(_CLAIM_HEADINGS, list(map(_claim, same)), [row.state for row in same])
        title = f"{table}: {quantity.replace('_', ' ')}"
        yield Section(title, summary(same), [texts], opened=opened)


def _claim(row: Row) -> tuple[str, ...]:
    claim = row.claim
    ours = difference = ""
    digits = 2 if claim.unit == "x" else 1
    if row.ours is not None:
        ours = f"{row.ours:.{digits}f}"
        if row.deviation is not None:
            ours += f" ± {row.deviation:.{digits}f}"
        # + 0.0 makes 0 of -0
        difference = f"{round(row.ours - claim.value, digits) + 0.0:+.{digits}f}"
    measured = (_megabytes(row.measured.get(name)) for name in memory.MEASURED)
    why = [claim.not_yet, claim.note, row.why, f"`{row.command}`" if row.command else ""]
    return (
        claim.row, claim.column, claim.unit, _printed(row), f"{claim.tolerance:.3g}",
        ours, difference, row.state, *measured, "; ".join(filter(None, why)),
    )  # fmt: skip


def _printed(row: Row) -> str:
    """Returns the paper's figure with its digits: megabytes in tables are whole."""
    claim = row.claim
    whole = claim.quantity == "memory" and claim.tolerance >= 0.5 and claim.value.is_integer()
    return f"{claim.value:.0f}" if whole else f"{claim.value:.1f}"


def _megabytes(numbers: Mapping[str, int] | None) -> str:
    return "" if numbers is None else f"{numbers['peak_bytes'] / 1e6:.1f}"


def _study(study: Study) -> Section:
    title = f"On small data, {study.cell.name}: {study.about}"
    run = f"`{study.command}`"
    if not study.trained:
        paragraphs = [f"{study.why or 'nobody has run it yet'}; {run}"]
        return Section(title, NOT_RUN, [], paragraphs, opened=False, study=study)
    methods = [line for size, each in study.trained.items() for line in _methods(size, each)]
    order = [(step, size) for size, each in study.trained.items() for step in steps(each)]
    tables = [
        Table(_METHOD_HEADINGS, methods, [""] * len(methods)),
        Table(
            _ORDER_HEADINGS,
            [_step(*each) for each in order],
            [step.verdict for step, _ in order],
        ),
    ]
    return Section(title, _order_summary(study), tables, [*_setup(study), run], study=study)


def _order_summary(study: Study) -> str:
    counts = [pairs_in_order(each) for each in study.trained.values()]
    return f"{sum(c[0] for c in counts)} of {sum(c[1] for c in counts)} pairs in the paper's order"


def _setup(study: Study) -> Iterator[str]:
    """Yields what was trained, and what the numbers mean."""
    sweep: dict[str, Any] = study.cell.settings["sweep"]
    train = sweep["train"]
    images = train.get("train_images") or "all"
    yield (
        f"{images} training images, {train['epochs']} epochs, batch "
        f"{sweep['params']['batch_size']}, {sweep['search']['seeds']} seeds, "
        f"{train.get('eval_images') or 'all'} test images. *paper* is {study.beside}; lite "
        "residual modules start from random weights here, those of the paper's table are trained "
        "before. *ours* is mean and standard deviation over the seeds; measured is everything that "
        "a training step took, with layers that keep only what gradients need."
    )
    yield f"The sweep in MLflow, with its front: `tinytl ui DIR/{study.directory}`"


def _methods(size: int, trained: Sequence[Trained]) -> Iterator[tuple[str, ...]]:
    full = next(each.metrics["peak_bytes"] for each in trained if each.method == "full")
    for each in trained:
        yield (
            each.label,
            str(size),
            "" if each.paper is None else f"{each.paper:.1f}",
            f"{each.mean:.1f} ± {each.deviation:.1f}",
            f"{each.metrics['peak_bytes'] / 1e6:.2f}",
            f"{full / each.metrics['peak_bytes']:.1f}",
            f"{each.metrics['modeled_bytes'] / 1e6:.2f}",
            f"{1e3 * each.metrics['step_seconds']:.0f}",
        )


def _step(step: Step, size: int) -> tuple[str, ...]:
    return (
        f"{step.lower.label} < {step.upper.label}",
        str(size),
        f"{step.papers_gap:+.1f}",
        f"{step.gap:+.1f}",
        f"{step.error:.1f}",
        step.verdict,
    )
