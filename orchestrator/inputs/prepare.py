"""Makes sure, before the first trial, that what a sweep starts from is there and fits."""

import itertools
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from orchestrator.inputs.weights import prepare_weights
from orchestrator.spec import SweepSpec
from tinytl.config import Norm
from tinytl.data import Splits, load_splits
from tinytl.errors import TinyTLError


def prepare_inputs(
    spec: SweepSpec, data: Path | None, weights: Path | None, console: Console
) -> tuple[dict[str, Splits], list[str]]:
    """Loads the datasets, and the weights that trials start from, on this machine.

    Args:
        spec: The sweep.
        data: Root of the datasets.
        weights: Where to look for weights first; what is nowhere is built or downloaded.
        console: See `prepare_weights`.

    Returns:
        The datasets that could be loaded, and a sentence for each problem.
    """
    problems: list[str] = []
    datasets: dict[str, Splits] = {}
    (validation,) = spec.values("validation")
    for dataset in spec.datasets:
        try:
            datasets[dataset] = load_splits(dataset, data, validation=validation)
        except TinyTLError as error:
            problems.append(str(error))
    classes = [len(splits.classes) for splits in datasets.values()]
    return datasets, problems + prepare_weights(networks_of(spec), weights, classes, console)


def networks_of(spec: SweepSpec) -> Iterator[tuple[str, str, Norm | None]]:
    """Yields backbone, weights and normalization layers of each network that trials may have."""
    yield from itertools.product(*(spec.values(key) for key in ("backbone", "weights", "norm")))
