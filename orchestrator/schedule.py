"""Early stopping: whether a trial that reports goes on, for several objectives at once."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

import moocore
import numpy as np

from orchestrator.spec.settings import HalvingSettings, Mode


@dataclass
class Halving:
    """Asynchronous successive halving on non-dominated rank.

    Rungs are the epochs `grace_epochs`, `grace_epochs * reduction`, ... A trial that reaches one
    goes on if it is among the best of the trials of its study that have reached it so far: one in
    `reduction`. Rank comes first, the number of the front on which a trial stands when the fronts
    are peeled off one by one; then, on the same front, crowding distance, so that of many trials
    that are alike fewer go on than of those that stand apart.

    The ends of the first front always go on: nobody is less accurate than the cheapest trial for
    the same memory, however little it has learned.

    Attributes:
        objectives: Metrics, and whether more or less of each is better.
        settings: Where rungs are, and how many go on.
    """

    objectives: Mapping[str, Mode]
    settings: HalvingSettings = field(default_factory=HalvingSettings)
    _rungs: dict[tuple[str, int], list[list[float]]] = field(
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
        rung.append(
            [-metrics[n] if mode == "max" else metrics[n] for n, mode in self.objectives.items()]
        )
        values = np.array(rung)  # all to be minimized, this trial's last
        ranks = moocore.pareto_rank(values)
        distances = crowding_distances(values[ranks == ranks[-1]])
        if ranks[-1] == ranks.min() and np.isinf(distances[-1]):
            return True
        better = (ranks < ranks[-1]).sum() + (distances > distances[-1]).sum()
        return bool(better < len(rung) / self.settings.reduction)

    def _is_rung(self, epoch: int) -> bool:
        rung = self.settings.grace_epochs
        while rung < epoch:
            rung *= self.settings.reduction
        return rung == epoch


def crowding_distances(front: np.ndarray) -> np.ndarray:
    """Returns how much room each point of a front has, as NSGA-II does.

    It is the distance of its two neighbours, as a share of the front's extent, added up over the
    objectives. The best in an objective is an end of the front, with infinite distance; of points
    that are the same, the first is the end.

    Args:
        front: A row for each point; all columns are to be minimized.
    """
    distances = np.zeros(len(front))
    for column in front.T:
        order = np.argsort(column, kind="stable")
        ends = np.pad(column[order], 1, "edge")
        distances[order] += (ends[2:] - ends[:-2]) / (np.ptp(column) or 1.0)
        distances[order[0]] = np.inf
    return distances
