"""Each claim of the paper beside what was found."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.paper import memory
from benchmarks.paper.claims import Claim
from benchmarks.paper.results import Cell, Results

PASS, FAIL, NOT_RUN, NOT_YET = "pass", "fail", "not run", "not yet"


@dataclass(frozen=True)
class Row:
    """A claim beside what was found.

    Attributes:
        claim: The paper's.
        state: One of pass, fail, not run and not yet.
        ours: In the claim's unit; None where it was not computed.
        measured: Peak bytes by execution, those that were measured.
        command: Runs what the row needs; empty where nothing can.
        origins: Where each of its numbers was found.
    """

    claim: Claim
    state: str
    ours: float | None = None
    measured: Mapping[str, int] = field(default_factory=dict)
    command: str = ""
    origins: tuple[Mapping[str, Any], ...] = ()


def compare(claims: Iterable[Claim], out: Path) -> list[Row]:
    """Returns a row for each claim; results that are outdated count as not run."""
    results = Results(out / memory.NAME)
    return [_row(claim, results) for claim in claims]


def _row(claim: Claim, results: Results) -> Row:
    if claim.not_yet:
        return Row(claim, NOT_YET, command=claim.command)
    found = {name: results.find(cell) for name, cell in _cells(claim.settings).items()}
    modeled = found[memory.MODELED]
    beside = results.find(_cells(claim.beside)[memory.MODELED]) if claim.beside else None
    groups = dict.fromkeys(map(memory.group_of, filter(None, (claim.settings, claim.beside))))
    command = "; ".join(f"tinytl bench run {memory.NAME} --only {group}" for group in groups)
    peaks = {
        name: result["numbers"]["peak_bytes"]
        for name, result in found.items()
        if name in memory.MEASURED and result is not None and not claim.beside
    }
    origins = tuple(result["provenance"] for result in (*found.values(), beside) if result)
    if modeled is None or (claim.beside and beside is None):
        return Row(claim, NOT_RUN, None, peaks, command, origins)
    ours = memory.value_of(claim, modeled["numbers"], beside and beside["numbers"])
    return Row(claim, PASS if claim.holds(ours) else FAIL, ours, peaks, command, origins)


def _cells(settings: Mapping[str, Any]) -> dict[str, Cell]:
    return {cell.settings["cell"]: cell for cell in memory.cells_of(settings)}
