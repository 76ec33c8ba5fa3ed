"""Where a sweep runs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tinytl.config import FinetuneConfig


@dataclass(frozen=True)
class Site:
    """Where a sweep runs.

    Attributes:
        data: Root of the datasets.
        weights: Where to look for weights first.
        device: Where trials train.
        classes: Number of classes of each dataset.
        predict: Returns the `peak_bytes` that a trial will measure, from its configuration, number
            of classes, device and threads.
        cache_limit_bytes: The most that the cache of decoded images may keep of a dataset; None for
            the default.
    """

    data: Path | None
    weights: Path | None
    device: str
    classes: Mapping[str, int]
    predict: Callable[[FinetuneConfig, int, str, int], int]
    cache_limit_bytes: int | None = None
