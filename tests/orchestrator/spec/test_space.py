import itertools
import math
import random

import pytest

from orchestrator.spec.space import (
    Choice,
    Fixed,
    HasStage,
    Parameter,
    Range,
    SearchSpace,
    always,
    has_modules,
)

FINITE = [
    (Fixed("adam"), ("adam",)),
    (Fixed(None), (None,)),
    (Choice((48, 24, 32)), (48, 24, 32)),
    (Range(1, 4), (1, 2, 3, 4)),
    (Range(1, 8, log=True), (1, 2, 3, 4, 5, 6, 7, 8)),
    (Range(8, 30, step=8), (8, 16, 24)),
    (Range(0.0, 0.3, step=0.1), (0.0, 0.1, 0.2, 0.3)),
    (Range(0.0, 1.0, step=0.4), (0.0, 0.4, 0.8)),
    (Range(0.5, 0.5), (0.5,)),
]
CONTINUOUS = [Range(0.0, 1.0), Range(1e-4, 1e-2, log=True)]


def space_of(methods, stages_of=("proxyless_tiny",), widths=(0.0, 1.0), extra=()):
    return SearchSpace(
        (
            Parameter("backbone", Choice(tuple(stages_of))),
            Parameter("method", Choice(tuple(methods))),
            Parameter("epochs", Fixed(4)),
            Parameter("batch_size", Choice((4, 8))),
            *(
                Parameter(f"lite_residual.width.{i}", Choice(widths), HasStage(i, has_modules))
                for i in range(6)
            ),
            Parameter("lite_residual.groups", Choice((2, 4)), has_modules),
            *extra,
        )
    )


@pytest.mark.parametrize(("domain", "values"), FINITE)
def test_finite_values(domain, values):
    assert tuple(domain.values()) == values
    assert {domain.sample(random.Random(seed)) for seed in range(200)} == set(values)


@pytest.mark.parametrize("domain", CONTINUOUS)
def test_continuous_range(domain):
    assert domain.values() is None
    drawn = [domain.sample(random.Random(seed)) for seed in range(400)]
    assert all(domain.low <= value <= domain.high for value in drawn)
    middle = math.sqrt(domain.low * domain.high) if domain.log else (domain.low + domain.high) / 2
    below = sum(value < middle for value in drawn) / len(drawn)
    assert below == pytest.approx(0.5, abs=0.1)


def test_walk_asks_only_for_what_the_trial_has():
    space = space_of(["last", "tinytl-lite_residual"], ["proxyless_tiny", "proxyless_mobile"])
    stages = {"proxyless_tiny": 4, "proxyless_mobile": 6}
    for backbone, method in itertools.product(stages, ["last", "tinytl-lite_residual"]):
        asked = []

        def pick(name, domain, wanted=(backbone, method), asked=asked):
            asked.append(name)
            return {"backbone": wanted[0], "method": wanted[1]}.get(name, domain.values()[0])

        params = space.walk(pick)
        assert params["epochs"] == 4
        assert "epochs" not in asked
        assert asked == [name for name in params if name != "epochs"]
        widths = [name for name in params if "width" in name]
        assert len(widths) == (0 if method == "last" else stages[backbone])
        assert ("lite_residual.groups" in params) == (method != "last")


SPACES = [
    (SearchSpace(()), 1),
    (SearchSpace((Parameter("epochs", Fixed(4), always),)), 1),
    (space_of(["last"]), 2),
    (space_of(["last", "full"]), 4),
    (space_of(["tinytl-lite_residual"]), 2 * 2**4 * 2),
    (
        space_of(["last", "tinytl-lite_residual+bias"], ["proxyless_tiny", "proxyless_mobile"]),
        2 * 2 + 2 * 2 * (2**4 + 2**6),
    ),
    (space_of(["last"], extra=[Parameter("seed", Choice((0, 1, 2)))]), 6),
]


@pytest.mark.parametrize(("space", "size"), SPACES)
def test_grid_holds_each_trial_once(space, size):
    grid = list(space.grid())
    assert space.size() == len(grid) == size
    assert len({tuple(sorted(params.items())) for params in grid}) == size
    assert grid == list(space.grid())


@pytest.mark.parametrize(("space", "size"), SPACES)
def test_random_trials_fill_the_grid(space, size):
    def key(params):
        return tuple(sorted(params.items()))

    rng = random.Random(0)
    drawn = {key(space.sample(rng)) for _ in range(20 * size)}
    assert drawn <= {key(params) for params in space.grid()}
    assert len(drawn) >= 0.9 * size


def test_last_parameter_varies_fastest():
    space = space_of(["last"], extra=[Parameter("seed", Choice((0, 1)))])
    order = [(params["batch_size"], params["seed"]) for params in space.grid()]
    assert order == [(4, 0), (4, 1), (8, 0), (8, 1)]


def test_continuous_space_has_no_grid():
    space = space_of(["last"], extra=[Parameter("learning_rate", Range(1e-4, 1e-2, log=True))])
    assert space.size() is None
    with pytest.raises(ValueError, match="no grid"):
        space.grid()


def test_domain_by_name():
    space = space_of(["last"])
    assert space.domain("batch_size") == Choice((4, 8))
    assert space.domain("resolution") is None
    assert [p.name for p in space.searched][:3] == ["backbone", "method", "batch_size"]


@pytest.mark.parametrize(("space", "size"), SPACES)
def test_contains_what_it_draws_and_nothing_else(space, size):
    for params in space.grid():
        assert space.contains(params)
        assert not space.contains({**params, "batch_size": 1000})
        assert not space.contains({**params, "another": 1})
        for name in params:
            assert not space.contains({n: v for n, v in params.items() if n != name})


@pytest.mark.parametrize(
    ("domain", "inside", "outside"),
    [
        (Range(1e-4, 1e-2, log=True), [1e-4, 3e-3, 1e-2], [1e-5, 0.1, "a", None]),
        (Range(2, 8, step=2), [2, 8], [3, 10]),
        (Range(0.1, 0.3, step=0.1), [0.1, 0.2, 0.3], [0.15]),
        (Choice((None, 0.5)), [None, 0.5], [0.6]),
        (Fixed(3), [3], [4]),
    ],
)
def test_contains_the_values_of_its_domains(domain, inside, outside):
    space = SearchSpace((Parameter("value", domain),))
    assert all(space.contains({"value": value}) for value in inside)
    assert not any(space.contains({"value": value}) for value in outside)
