"""Trials of an earlier sweep, from which a study may learn."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.record import Asked, Told, read_events
from orchestrator.spec.space import SearchSpace


@dataclass(frozen=True)
class Earlier:
    """A trial of an earlier sweep.

    Attributes:
        params: Its flat parameters, which lie in the space.
        values: Its metrics.
        violation: By how much it breaks this sweep's limits, as a share of them.
    """

    params: Mapping[str, Any]
    values: Mapping[str, float]
    violation: float = 0.0


def earlier_trials(
    directory: Path,
    study: str,
    space: SearchSpace,
    objectives: Iterable[str],
    limits: Mapping[str, float],
) -> Iterator[Earlier]:
    """Yields what a study can learn from an earlier sweep, in the order in which it was told.

    That is what lies in the space and is complete, or breaks a limit of this sweep. What was
    infeasible only under the earlier sweep's limits says nothing here, nor do trials that confirmed
    others: the search knows those.

    Args:
        directory: The earlier sweep's.
        study: The dataset.
        space: What a trial's parameters may be.
        objectives: Metrics that a complete trial must have.
        limits: This sweep's, by metric.

    Raises:
        StorageError: If the earlier sweep's record is damaged.
    """
    asked: dict[str, Asked] = {}
    for event, _ in read_events(directory):
        if isinstance(event, Asked):
            if event.study != study or event.confirms is not None:
                continue
            asked[event.trial] = event
        elif isinstance(event, Told) and event.trial in asked:
            params = asked[event.trial].params
            violation = max(
                (event.metrics.get(name, 0.0) / limit - 1 for name, limit in limits.items()),
                default=0.0,
            )
            measured = all(math.isfinite(event.metrics.get(m, math.nan)) for m in objectives)
            useful = violation > 0 or (event.state == "complete" and measured)
            if useful and space.contains(params):
                yield Earlier(params, event.metrics, max(violation, 0.0))
