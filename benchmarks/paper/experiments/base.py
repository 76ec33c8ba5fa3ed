"""What an experiment is: cells that are run, and a claim of the paper beside what they found."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from benchmarks.paper.claims import Claim
from benchmarks.paper.results import Cell, Results

PASS, FAIL, NOT_RUN, NOT_YET = "pass", "fail", "not run", "not yet"


class Scale(StrEnum):
    """How much is run."""

    smoke = "smoke"
    cpu = "cpu"
    full = "full"


class StoppedError(Exception):
    """Somebody stopped a cell; running it again goes on with it."""


@dataclass(frozen=True)
class Place:
    """Where an experiment runs.

    Attributes:
        directory: Of its results.
        console: Shows how far it is.
        data: Root of the datasets; None for the default.
        weights: Where to look for weights first.
        backend: What runs trials.
        address: Of a running Ray cluster.
    """

    directory: Path
    console: Console
    data: Path | None = None
    weights: Path | None = None
    backend: Literal["ray", "local"] = "ray"
    address: str | None = None


@dataclass(frozen=True)
class Row:
    """A claim beside what was found.

    Attributes:
        claim: The paper's.
        state: One of pass, fail, not run and not yet.
        ours: In the claim's unit; None where it was not computed.
        deviation: Standard deviation over the seeds, in the same unit; None where there is none.
        measured: By execution, those that were measured: `peak_bytes`, and the parts of it as in
            `tinytl.memory.measured.StepMemory`.
        why: Why it could not be run, as far as that was tried.
        command: Runs what the row needs; empty where nothing can.
        origins: Where each of its numbers was found.
    """

    claim: Claim
    state: str
    ours: float | None = None
    deviation: float | None = None
    measured: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    why: str = ""
    command: str = ""
    origins: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class Experiment:
    """An experiment.

    Attributes:
        name: What it is called on the command line.
        about: What it finds out, in a few words.
        cells: Returns the cells of a scale, each once.
        run: Returns a cell's numbers; raises a TinyTLError if it cannot be run, and a StoppedError
            if it was stopped.
        in_words: Returns a cell's numbers in a few words.
        compare: Returns a claim beside what was found; None where no claim is of this experiment.
    """

    name: str
    about: str
    cells: Callable[[Iterable[Claim], Scale], list[Cell]]
    run: Callable[[Cell, Place], Mapping[str, Any]]
    in_words: Callable[[Mapping[str, Any]], str]
    compare: Callable[[Claim, Results], Row] | None = None

    def all_cells(self, claims: Iterable[Claim]) -> list[Cell]:
        """Returns the cells of all scales, each once."""
        claims = list(claims)
        cells = (cell for scale in Scale for cell in self.cells(claims, scale))
        return list({cell.name: cell for cell in cells}.values())
