"""Params as numbers in [0, 1]."""

import random

import pytest

from orchestrator.search.features import Features
from orchestrator.spec.space import (
    Choice,
    Fixed,
    Parameter,
    Range,
    SearchSpace,
    has_modules,
)

SPACE = SearchSpace(
    (
        Parameter("backbone", Fixed("proxyless_tiny")),
        Parameter("method", Choice(("last", "tinytl-lite_residual"))),
        Parameter("resolution", Choice((48, 24, 32))),
        Parameter("learning_rate", Range(1e-4, 1e-2, log=True)),
        Parameter("crop_scale", Choice((None, 0.5))),
        Parameter("lite_residual.width", Choice((0.0, 0.5, 2.0)), has_modules),
    )
)
LAST = {"backbone": "proxyless_tiny", "method": "last", "resolution": 24,
        "learning_rate": 1e-3, "crop_scale": None}  # fmt: skip
MODULES = {**LAST, "method": "tinytl-lite_residual", "resolution": 32, "crop_scale": 0.5,
           "lite_residual.width": 0.5}  # fmt: skip


@pytest.mark.parametrize(
    ("params", "row"),
    [(LAST, [1, 0, 0, 0.5, 1, 0, 0]), (MODULES, [0, 1, 1 / 3, 0.5, 0, 1, 0.25])],
)
def test_rows(params, row):
    assert Features(SPACE).matrix([params])[0] == pytest.approx(row)


def test_all_are_between_0_and_1():
    rng = random.Random(0)
    rows = Features(SPACE).matrix([SPACE.sample(rng) for _ in range(200)])
    assert rows.min() == 0
    assert rows.max() == 1
