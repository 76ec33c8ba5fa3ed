"""What a report is about."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.paper.claims import Claim
from benchmarks.paper.comparison import Study, compare, studies
from benchmarks.paper.experiments.base import FAIL, NOT_RUN, NOT_YET, PASS, Row

_STATES = (PASS, FAIL, NOT_RUN, NOT_YET)


@dataclass(frozen=True)
class Findings:
    """All that was found.

    Attributes:
        rows: The claims of the paper.
        studies: Of `paper-smoke`.
    """

    rows: Sequence[Row]
    studies: Sequence[Study] = ()

    def origins(self) -> Iterator[Mapping[str, Any]]:
        """Yields where numbers were found."""
        for row in self.rows:
            yield from row.origins
        for study in self.studies:
            yield from study.origins


def read_findings(claims: Sequence[Claim], out: Path) -> Findings:
    """Returns what the results below a directory say."""
    return Findings(compare(claims, out), studies(claims, out))


def summary(rows: Sequence[Row]) -> str:
    """Returns how many rows passed, failed, were not run and cannot be run yet."""
    states = [row.state for row in rows]
    counts = (f"{states.count(state)} {state}" for state in _STATES if state in states)
    return f"{len(rows)} claims: {', '.join(counts)}"
