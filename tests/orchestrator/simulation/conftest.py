"""A small task of which everything is known, and a table of it."""

import math
import random

import pytest

from orchestrator.simulation.tables import Row
from orchestrator.spec import SweepSpec

EPOCHS = 4
SWEEP = {
    "name": "known",
    "datasets": ["digits"],
    "objectives": {"val_accuracy": "max", "peak_bytes": "min"},
    "params": {
        "backbone": "proxyless_tiny",
        "method": ["last", "tinytl-bias", "full"],
        "resolution": [24, 32, 40, 48],
        "batch_size": [4, 8],
        "learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
    },
    "train": {"epochs": EPOCHS, "weights": "random", "validation": 0.2},
    "search": {"sampler": "random", "trials": 20},
}
FACTORS = {"last": 1.0, "tinytl-bias": 1.5, "full": 4.0}


def row_of(params: dict) -> Row:
    """A trial that runs to its end: memory and time follow from shapes, accuracy from both."""
    peak_bytes = round(100 * FACTORS[params["method"]] * params["batch_size"] ** 0.5
                       * params["resolution"] ** 2)  # fmt: skip
    off = math.log10(params["learning_rate"]) + 3
    best = (1 - math.exp(-peak_bytes / 3e5)) * math.exp(-0.3 * off**2)
    return Row(
        study="digits",
        params=params,
        state="complete",
        peak_bytes=peak_bytes,
        accuracy=tuple(best * epoch / (epoch + 0.5) for epoch in range(1, EPOCHS + 1)),
        seconds=(peak_bytes / 1e5,) * EPOCHS,
    )


@pytest.fixture
def spec() -> SweepSpec:
    return SweepSpec.parse(SWEEP)


@pytest.fixture
def rows(spec: SweepSpec) -> list[Row]:
    rng = random.Random(1)
    return [row_of(spec.space.sample(rng)) for _ in range(80)]


@pytest.fixture
def truth():
    """What a trial does that is not in the table."""
    return row_of
