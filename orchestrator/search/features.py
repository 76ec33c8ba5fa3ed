"""Parameters as numbers, for models that learn from trials."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from orchestrator.spec.space import Domain, Range, SearchSpace


class Features:
    """Turns params into rows of numbers in [0, 1].

    A number keeps its place between the smallest and the largest of its domain, other choices have
    a column each. What a trial does not have is 0 everywhere: the smallest number, as a width of
    no module.

    Args:
        space: The parameters.
    """

    def __init__(self, space: SearchSpace) -> None:
        self._columns = {p.name: _columns(p.domain) for p in space.searched}

    def matrix(self, many: Sequence[Mapping[str, Any]]) -> np.ndarray:
        """Returns a row for each trial's params."""
        return np.array([self._row(params) for params in many], dtype=np.float64)

    def _row(self, params: Mapping[str, Any]) -> list[float]:
        row: list[float] = []
        for name, column in self._columns.items():
            if isinstance(column, _Scale):
                row.append(column.of(params[name]) if name in params else 0.0)
            else:
                row += [float(name in params and params[name] == choice) for choice in column]
        return row


class _Scale:
    def __init__(self, low: float, high: float, *, log: bool) -> None:
        self._number = math.log if log else float
        self._low, self._high = self._number(low), self._number(high)

    def of(self, value: float) -> float:
        return (self._number(value) - self._low) / ((self._high - self._low) or 1.0)


def _columns(domain: Domain) -> _Scale | Sequence[Any]:
    """Returns the scale of numbers, or the choices of anything else."""
    if isinstance(domain, Range):
        return _Scale(domain.low, domain.high, log=domain.log)
    values = domain.values()
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return _Scale(min(values), max(values), log=False)
    return values
