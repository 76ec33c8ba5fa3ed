"""Early stopping: whether a trial that reports goes on, for several objectives at once."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from orchestrator.spec.settings import HalvingSettings, Mode

_FEWEST, _SHARE = 8, 8
"""A trial is compared with one in `_SHARE` of a rung's trials, but with no fewer than `_FEWEST`."""


@dataclass
class Halving:
    """Asynchronous successive halving among trials of like cost.

    Rungs are the epochs `grace_epochs`, `grace_epochs * reduction`, ... A trial that reaches one
    goes on if, of the trials of its study that have reached it so far, no other is at least as
    good in all objectives; or if, among its neighbours, it is one of the best: one in `reduction`.

    What is minimized (bytes, seconds) is known from the first epoch on and stays as it is, only
    accuracy grows. So costs say who a trial's neighbours are, and accuracy which of them go on: the
    fronts of a sweep need good trials at every cost, and what learns slowly is not stopped for
    what is cheap and learns faster.

    Attributes:
        objectives: Metrics, and whether more or less of each is better.
        settings: Where rungs are, and how many go on.
    """

    objectives: Mapping[str, Mode]
    settings: HalvingSettings = field(default_factory=HalvingSettings)
    _rungs: dict[tuple[str, int], list[Mapping[str, float]]] = field(
        default_factory=lambda: defaultdict(list)
    )

    def goes_on(self, study: str, epoch: int, metrics: Mapping[str, float]) -> bool:
        """Notes a report, and returns whether its trial should go on.

        Args:
            study: The trial's study.
            epoch: Counted from 1.
            metrics: Must hold every objective.
        """
        if not self._is_rung(epoch):
            return True
        rung = self._rungs[study, epoch]
        rung.append(metrics)
        gains, costs = self._values(rung, "max"), self._values(rung, "min")
        as_good = (gains[:-1] >= gains[-1]).all(axis=1) & (costs[:-1] <= costs[-1]).all(axis=1)
        if not as_good.any():
            return True
        nearest = _nearest(costs, max(_FEWEST, len(rung) // _SHARE))
        near = gains[nearest]
        better = (near >= gains[-1]).all(axis=1) & (near > gains[-1]).any(axis=1)
        return bool(better.sum() < len(nearest) / self.settings.reduction)

    def _values(self, rung: list[Mapping[str, float]], mode: Mode) -> np.ndarray:
        names = [name for name, own in self.objectives.items() if own == mode]
        return np.array([[metrics[name] for name in names] for metrics in rung])

    def _is_rung(self, epoch: int) -> bool:
        rung = self.settings.grace_epochs
        while rung < epoch:
            rung *= self.settings.reduction
        return rung == epoch


def _nearest(costs: np.ndarray, count: int) -> np.ndarray:
    """Returns the places of the rows that are nearest to the last one.

    Distance is the difference of logarithms, the largest of all costs: a tenth more is as far from
    a trial of 1 MB as from one of 1 GB.
    """
    logs = np.log(np.maximum(costs, np.finfo(float).tiny))
    distances = np.abs(logs - logs[-1]).max(axis=1, initial=0.0)
    return np.argsort(distances, kind="stable")[:count]
