"""Early stopping: whether a trial that reports goes on, for several objectives at once."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

import moocore
import numpy as np

from orchestrator.spec.settings import Mode

GRACE_EPOCHS = 1
REDUCTION = 2


@dataclass
class Halving:
    """Asynchronous successive halving on non-dominated rank.

    A trial that reaches a rung (epoch 1, 2, 4, ...) goes on if its rank is within the better half
    of the trials of its study that have reached that rung so far. Rank is the number of the front
    it stands on when the fronts are peeled off one by one, so that a trial at the memory-cheap end
    is not stopped for being less accurate.

    Attributes:
        objectives: Metrics, and whether more or less of each is better.
    """

    objectives: Mapping[str, Mode]
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
        if not _is_rung(epoch):
            return True
        rung = self._rungs[study, epoch]
        rung.append([metrics[name] for name in self.objectives])
        ranks = moocore.pareto_rank(
            np.array(rung), maximise=[mode == "max" for mode in self.objectives.values()]
        )
        better = int((ranks < ranks[-1]).sum())
        return bool(ranks[-1] == ranks.min()) or better < len(rung) / REDUCTION


def _is_rung(epoch: int) -> bool:
    rung = GRACE_EPOCHS
    while rung < epoch:
        rung *= REDUCTION
    return rung == epoch
