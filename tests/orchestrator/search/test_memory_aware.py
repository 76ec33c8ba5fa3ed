"""Our own sampler: memory is known, accuracy is learned."""

import math
import random

import pytest

from orchestrator.fronts.pareto import Point, hypervolume
from orchestrator.search import Study
from orchestrator.search.memory_aware import PREDICTIONS, KnownMemory, MemoryAware
from orchestrator.search.warm_start import Earlier
from orchestrator.spec.settings import SearchSettings
from orchestrator.spec.space import Choice, Fixed, Parameter, Range, SearchSpace, has_modules

OBJECTIVES = {"val_accuracy": "max", "peak_bytes": "min"}
SPACE = SearchSpace(
    (
        Parameter("backbone", Fixed("proxyless_tiny")),
        Parameter("method", Choice(("last", "tinytl-bias", "tinytl-lite_residual", "full"))),
        Parameter("resolution", Choice((24, 32, 40, 48))),
        Parameter("learning_rate", Range(1e-4, 1e-1, log=True)),
        *(
            Parameter(f"lite_residual.width.{i}", Choice((0.0, 0.5, 1.0, 2.0)), has_modules)
            for i in range(4)
        ),
    )
)
FACTORS = {"last": 1.0, "tinytl-bias": 1.3, "tinytl-lite_residual": 1.2, "full": 5.0}


def peak_bytes(params):
    widths = sum(v for name, v in params.items() if "width" in name)
    return round(1e3 * (FACTORS[params["method"]] + 0.1 * widths) * params["resolution"] ** 2)


def accuracy(params):
    """Best at one learning rate; more memory helps, and one stage's modules most."""
    off = abs(math.log10(params["learning_rate"]) + 2.5)
    useful = params.get("lite_residual.width.2", 0.0)
    power = math.log(peak_bytes(params) / 5e5) + useful
    return (1 - math.exp(-0.5 * power)) * math.exp(-0.4 * off**2)


def values(params):
    return {"val_accuracy": accuracy(params), "peak_bytes": peak_bytes(params)}


def study_of(sampler="memory_aware", *, seed=0, trials=40, limit_bytes=None, predict=peak_bytes):
    settings = SearchSettings(sampler=sampler, trials=trials, seed=seed)
    return Study("digits", SPACE, OBJECTIVES, settings, KnownMemory(predict, limit_bytes))


def search(study, count):
    found = []
    for _ in range(count):
        number, params = study.ask()
        found.append(params)
        study.tell(number, "complete", values(params))
    return found


def volume(found):
    points = [Point(str(index), params, values(params)) for index, params in enumerate(found)]
    return hypervolume(points, OBJECTIVES, {"val_accuracy": 0.0, "peak_bytes": 1e7})


def test_beats_random_search():
    ours = [volume(search(study_of(seed=seed), 30)) for seed in range(3)]
    others = [volume(search(study_of("random", seed=seed), 60)) for seed in range(3)]
    assert sum(ours) > sum(others)  # with half of the trials


def test_what_breaks_the_limit_is_never_suggested():
    limit_bytes = 1_500_000
    share = sum(peak_bytes(SPACE.sample(random.Random(seed))) <= limit_bytes for seed in range(500))
    assert share < 200  # of 500: a sampler that knows nothing would suggest it
    for params in search(study_of(limit_bytes=limit_bytes), 25):
        assert peak_bytes(params) <= limit_bytes


def test_predictions_are_budgeted():
    asked = []

    def predict(params):
        asked.append(params)
        return peak_bytes(params)

    study = study_of(limit_bytes=1, predict=predict)  # which nothing keeps
    for _ in range(3):
        before = len(asked)
        number, params = study.ask()
        tried = asked[before:-1]  # the last is that of the trial itself
        assert len(tried) <= PREDICTIONS
        assert peak_bytes(params) == min(map(peak_bytes, tried))
        study.tell(number, "infeasible", {"peak_bytes": peak_bytes(params)}, violation=1.0)


def test_what_cannot_be_built_is_not_suggested():
    def predict(params):
        return None if params["method"] == "full" else peak_bytes(params)

    assert {params["method"] for params in search(study_of(predict=predict), 20)} == {
        "last", "tinytl-bias", "tinytl-lite_residual",
    }  # fmt: skip


def test_running_trials_are_not_suggested_around_again():
    study = study_of()
    search(study, 20)
    running = [study.ask()[1] for _ in range(4)]
    assert len({(p["method"], p["resolution"]) for p in running}) > 1


def test_stopped_trials_teach_what_they_would_have_reached():
    """What is trained at a small learning rate falls behind and is stopped: it is tried no more."""
    study, tried = study_of(), []
    for _ in range(40):
        number, params = study.ask()
        good = params["learning_rate"] > 1e-3
        tried.append(good)
        end = accuracy(params) if good else 0.3 * accuracy(params)
        for epoch in (1, 2):
            study.report(number, epoch, {"val_accuracy": end * epoch / 3})
        last = end if good else end * 2 / 3
        found = {"val_accuracy": last, "peak_bytes": peak_bytes(params)}
        study.tell(number, "complete" if good else "stopped", found)
    assert sum(tried[20:]) > 15


def test_a_stopped_trial_is_foreseen_as_complete_ones_like_it_went():
    """`full` starts slowly: it gains as other trials of `full` did, not as those of its size."""
    sampler, rng = MemoryAware(SPACE, KnownMemory(peak_bytes), seed=0), random.Random(0)
    stopped = {}
    for number in range(60):
        params = SPACE.sample(rng)
        sampler.asked(params)
        end = 0.1 + 0.8 * max(accuracy(params), 0)
        first = end * (0.3 if params["method"] == "full" else 0.8)
        sampler.reported(number, 1, {"val_accuracy": first})
        if number % 3 == 2:
            stopped[number] = end
            sampler.told(
                number, "stopped", {"val_accuracy": first, "peak_bytes": peak_bytes(params)}
            )
            continue
        sampler.reported(number, 2, {"val_accuracy": end})
        sampler.told(number, "complete", {"val_accuracy": end, "peak_bytes": peak_bytes(params)})
    model = sampler._fitted_accuracy([])
    told = {id(seen): value for seen, value in sampler._taught(60, model.kernel)}
    errors = [told[id(sampler._asked[number])] - end for number, end in stopped.items()]
    assert len(errors) == 20
    assert math.sqrt(sum(error**2 for error in errors) / 20) < 0.05


def test_a_replay_goes_on_as_if_it_had_never_stopped():
    first = search(study_of(), 24)
    study = study_of()
    for number, params in enumerate(first[:15]):
        study.replay_ask(number, params)
        study.tell(number, "complete", values(params))
    assert search(study, 9) == first[15:]


def test_an_earlier_sweep_is_learned_from():
    found = search(study_of("random", trials=60), 60)
    fresh, warm = study_of(seed=3), study_of(seed=3)
    for params in found:
        warm.add_earlier(Earlier(params, values(params)))
    assert volume(search(warm, 8)) > volume(search(fresh, 8))


def test_needs_the_memory():
    settings = SearchSettings(sampler="memory_aware", trials=1)
    with pytest.raises(ValueError, match="must know the memory"):
        Study("digits", SPACE, OBJECTIVES, settings)


def test_where_nothing_new_is_drawn():
    one = SearchSpace((Parameter("backbone", Fixed("proxyless_tiny")),))
    assert MemoryAware(one, KnownMemory(peak_bytes), 0).suggest(lambda params: False) is None
