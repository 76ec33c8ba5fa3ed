"""Early stopping: whether a trial that reports goes on, for several objectives at once."""

import functools
import itertools
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from orchestrator.spec.settings import HalvingSettings, Mode

_FEWEST, _PART = 16, 8
"""A trial is compared with one in `_PART` of a rung's trials, but with no fewer than `_FEWEST`."""


@dataclass
class _Rung:
    """Trials that have reached a rung, as good as they had been until then.

    Attributes:
        reached: Their objectives.
        free: How many more of them could have gone on, for the share that should.
    """

    reached: list[Mapping[str, float]] = field(default_factory=list)
    free: float = 0.0


@dataclass
class Halving:
    """Asynchronous successive halving among trials of like cost.

    Rungs are the epochs `grace_epochs`, `grace_epochs * reduction`, ... A trial that reaches one
    goes on if, of the trials of its study that have reached it so far, no other is at least as
    good in all objectives; or if it is one of the best among its neighbours. Of these so many go on
    that, with those nobody beats, `kept` of all that reach the rung do.

    What is minimized (bytes, seconds) is known from the first epoch on and stays as it is, only
    accuracy grows. So costs say who a trial's neighbours are, and accuracy which of them go on: the
    fronts of a sweep need good trials at every cost, and what learns slowly is not stopped for
    what is cheap and learns faster. Accuracy is the best so far, as one epoch's has more noise.

    Attributes:
        objectives: Metrics, and whether more or less of each is better.
        settings: Where rungs are, and how many epochs may be trained.
    """

    objectives: Mapping[str, Mode]
    settings: HalvingSettings = field(default_factory=HalvingSettings)
    _rungs: dict[tuple[str, int], _Rung] = field(default_factory=lambda: defaultdict(_Rung))
    _best: dict[str, dict[str, float]] = field(default_factory=dict)

    def goes_on(
        self, study: str, trial: str, epoch: int, epochs: int, metrics: Mapping[str, float]
    ) -> bool:
        """Notes a report, and returns whether its trial should go on.

        Args:
            study: The trial's study.
            trial: Its name.
            epoch: Counted from 1.
            epochs: How many it has in all.
            metrics: Must hold every objective.
        """
        best = self._note(trial, metrics)
        if epoch not in rungs(self.settings, epochs):
            return True
        keep = kept(self.settings, epochs)
        rung = self._rungs[study, epoch]
        rung.reached.append(best)
        rung.free += keep
        goes_on = self._is_unbeaten(rung) or self._is_among_the_best(rung, keep)
        rung.free -= goes_on
        return goes_on

    def _note(self, trial: str, metrics: Mapping[str, float]) -> dict[str, float]:
        """Returns the objectives of a trial, each as good as it has been so far."""
        before = self._best.get(trial, metrics)
        self._best[trial] = {
            name: (max if mode == "max" else min)(metrics[name], before[name])
            for name, mode in self.objectives.items()
        }
        return self._best[trial]

    def _is_unbeaten(self, rung: _Rung) -> bool:
        """Whether of all that have reached the rung none is at least as good as the last one."""
        gains, costs = self._values(rung, "max"), self._values(rung, "min")
        as_good = (gains[:-1] >= gains[-1]).all(axis=1) & (costs[:-1] <= costs[-1]).all(axis=1)
        return not as_good.any()

    def _is_among_the_best(self, rung: _Rung, keep: float) -> bool:
        """Whether the last one is among the best of its neighbours.

        Places that are free (or were taken by trials nobody beats) are more (or fewer) for them.
        """
        nearest = _nearest(self._values(rung, "min"), max(_FEWEST, len(rung.reached) // _PART))
        gains = self._values(rung, "max")
        near = gains[nearest]
        better = (near >= gains[-1]).all(axis=1) & (near > gains[-1]).any(axis=1)
        return bool(better.sum() < keep * len(nearest) + rung.free)

    def _values(self, rung: _Rung, mode: Mode) -> np.ndarray:
        names = [name for name, own in self.objectives.items() if own == mode]
        return np.array([[metrics[name] for name in names] for metrics in rung.reached])


def rungs(settings: HalvingSettings, epochs: int) -> list[int]:
    """Returns the epochs after which trials of so many are compared."""
    return list(
        itertools.takewhile(
            lambda epoch: epoch < epochs,
            (settings.grace_epochs * settings.reduction**n for n in itertools.count()),
        )
    )


@functools.cache
def kept(settings: HalvingSettings, epochs: int) -> float:
    """Returns the share of the trials that goes on at each rung.

    With it trials of so many epochs train `settings.share` of them, on average: with rungs at 1, 2
    and 4 of 8 epochs, 1 + k + 2 k^2 + 4 k^3 = 8 share. It is 0 where the first rung takes as much.
    """
    from scipy.optimize import brentq  # slow to import, and only needed here

    ends = [*rungs(settings, epochs), epochs]
    steps = np.diff([0, *ends])  # steps[n] is trained by k^n of the trials
    if settings.share * epochs <= steps[0]:
        return 0.0
    return float(brentq(lambda k: np.polyval(steps[::-1], k) - settings.share * epochs, 0.0, 1.0))


def _nearest(costs: np.ndarray, count: int) -> np.ndarray:
    """Returns the places of the rows that are nearest to the last one.

    Distance is the difference of logarithms, the largest of all costs: a tenth more is as far from
    a trial of 1 MB as from one of 1 GB.
    """
    logs = np.log(np.maximum(costs, np.finfo(float).tiny))
    distances = np.abs(logs - logs[-1]).max(axis=1, initial=0.0)
    return np.argsort(distances, kind="stable")[:count]
