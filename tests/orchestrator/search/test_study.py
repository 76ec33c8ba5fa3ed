import json
import math
import random
import warnings

import pytest

from orchestrator.search import SAMPLERS, KnownMemory, Study
from orchestrator.spec.settings import SearchSettings
from orchestrator.spec.space import (
    Choice,
    Fixed,
    HasStage,
    Parameter,
    Range,
    SearchSpace,
    has_modules,
)

OBJECTIVES = {"val_accuracy": "max", "peak_bytes": "min"}
METHODS = ("last", "tinytl-bias", "tinytl-lite_residual", "full")
LEARNING = ("memory_aware", "nsga2", "nsga3", "tpe", "gp")


def conditional_space(learning_rate=None):
    parameters = (
        Parameter("backbone", Fixed("proxyless_tiny")),
        Parameter("method", Choice(METHODS)),
        Parameter("crop_scale", Choice((None, 0.5))),
        Parameter("resolution", Choice((48, 24, 32))),
        Parameter("learning_rate", learning_rate or Range(1e-3, 1e-2, log=True)),
        *(
            Parameter(f"lite_residual.width.{i}", Choice((0.0, 1.0)), HasStage(i, has_modules))
            for i in range(4)
        ),
        Parameter("lite_residual.groups", Range(1, 8, log=True), has_modules),
    )
    return SearchSpace(parameters)


def small_space():
    return SearchSpace(
        (
            Parameter("backbone", Fixed("proxyless_tiny")),
            Parameter("method", Choice(("last", "tinytl-lite_residual"))),
            Parameter("resolution", Choice((24, 32))),
            Parameter("dropout", Range(0.0, 0.1, step=0.1)),
            Parameter("lite_residual.groups", Range(2, 5, step=2), has_modules),
        )
    )


def study_of(sampler, space=None, *, trials=24, seed=0, objectives=OBJECTIVES):
    settings = SearchSettings(sampler=sampler, trials=trials, seed=seed)
    known = KnownMemory(lambda params: metrics(params)["peak_bytes"])
    return Study("digits", space or conditional_space(), objectives, settings, known)


def metrics(params):
    methods = {"last": 1.0, "tinytl-bias": 1.2, "tinytl-lite_residual": 1.5, "full": 6.0}
    cost = methods[params["method"]] * params["resolution"] ** 2
    return {"val_accuracy": 1 - math.exp(-cost / 4000), "peak_bytes": 1000 * cost}


def key(params):
    return json.dumps(params, sort_keys=True)


@pytest.fixture(params=[name for name in SAMPLERS if name != "grid"])
def sampler(request):
    return request.param


def trials_for(sampler):
    """Enough for the sampler to leave its random start; models are slow."""
    return {"gp": 11, "memory_aware": 14}.get(sampler, 40)


def test_never_the_same_trial_twice(sampler):
    study = study_of(sampler, conditional_space(Choice((1e-3, 3e-3))))
    seen = set()
    for _ in range(trials_for(sampler)):
        number, params = study.ask()
        assert number == len(seen)
        assert key(params) not in seen
        seen.add(key(params))
        study.tell(number, "complete", metrics(params))


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("name", SAMPLERS)
def test_exhausts_a_small_space_exactly(name, told):
    study = study_of(name, small_space())
    found = []
    while (asked := study.ask()) is not None:
        found.append(asked[1])
        if told:
            study.tell(asked[0], "complete", metrics(asked[1]))
    grid = list(small_space().grid())
    assert sorted(map(key, found)) == sorted(map(key, grid))
    assert name != "grid" or found == grid
    assert study.ask() is None


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_space_without_choices_has_one_trial(name):
    params = {"backbone": "proxyless_tiny", "method": "last", "resolution": 24}
    study = study_of(name, SearchSpace(tuple(Parameter(n, Fixed(v)) for n, v in params.items())))
    assert study.ask() == (0, params)
    assert study.ask() is None


def test_trials_have_the_parameters_of_their_method(sampler):
    study, space = study_of(sampler), conditional_space()
    for _ in range(trials_for(sampler)):
        number, params = study.ask()
        # walking along what was suggested gives it back: right names, in order, nothing more
        assert space.walk(lambda name, domain, params=params: params[name]) == params
        for parameter in space.parameters:
            value, domain = params.get(parameter.name), parameter.domain
            if parameter.name in params and domain.values() is not None:
                assert value in domain.values()
                assert type(value) in {type(v) for v in domain.values()}
            elif parameter.name in params:
                assert domain.low <= value <= domain.high
        study.tell(number, "complete", metrics(params))


def test_survives_every_way_to_end(sampler):
    study = study_of(sampler)
    rng = random.Random(1)
    for index in range(trials_for(sampler)):
        number, params = study.ask()
        values = metrics(params)
        match index % 4:
            case 0:
                study.tell(number, "complete", values)
            case 1:
                study.tell(number, "infeasible", {"peak_bytes": 1e9}, violation=rng.random())
            case 2:
                study.tell(number, "failed", {})
            case _:
                study.tell(number, "stopped", values)


def test_starts_with_failures_only(sampler):
    study = study_of(sampler)
    for _ in range(trials_for(sampler)):
        number, _ = study.ask()
        study.tell(number, "failed", {"val_accuracy": math.nan})


def test_takes_trials_in_parallel(sampler):
    study = study_of(sampler, conditional_space(Choice((1e-3, 3e-3))))
    running, seen = [], set()
    for _ in range(trials_for(sampler)):
        running.append(study.ask())
        seen.add(key(running[-1][1]))
        if len(running) == 4:
            number, params = running.pop(random.Random(len(seen)).randrange(4))
            study.tell(number, "complete", metrics(params))
    assert len(seen) == trials_for(sampler)


@pytest.mark.parametrize("sampler", LEARNING, indirect=True)
def test_finds_the_feasible_part(sampler):
    """A part of the space is feasible; what is suggested later is so more often."""
    study, feasible = study_of(sampler, trials=64), []
    for _ in range({"gp": 16, "memory_aware": 32}.get(sampler, 64)):
        number, params = study.ask()
        values = metrics(params)
        over = values["peak_bytes"] / 0.9e6 - 1
        state = "infeasible" if over > 0 else "complete"
        study.tell(number, state, values, violation=max(over, 0.0))
        feasible.append(over <= 0)
    share = sum(metrics(p)["peak_bytes"] <= 0.9e6 for p in sampled(2000)) / 2000
    late = feasible[len(feasible) // 2 :]
    assert sum(late) / len(late) > 1.4 * share


def sampled(count):
    rng = random.Random(0)
    return [conditional_space().sample(rng) for _ in range(count)]


def history(study, count):
    suggestions = []
    for _ in range(count):
        number, params = study.ask()
        suggestions.append(params)
        study.tell(number, "complete", metrics(params))
    return suggestions


def test_same_seed_same_suggestions(sampler):
    count = trials_for(sampler)
    first = history(study_of(sampler), count)
    assert history(study_of(sampler), count) == first
    assert history(study_of(sampler, seed=1), 4) != first[:4]


def replayed(sampler, suggestions, **settings):
    study = study_of(sampler, **settings)
    for number, params in enumerate(suggestions):
        study.replay_ask(number, json.loads(json.dumps(params)))
        study.tell(number, "complete", metrics(params))
    return study


def test_replay_goes_on_with_new_trials(sampler):
    count = trials_for(sampler) - 1
    first = history(study_of(sampler), count)
    study = replayed(sampler, first)
    later = history(study, 2)
    assert not {key(params) for params in first} & {key(params) for params in later}
    # and again the same after the same replay
    assert history(replayed(sampler, first), 2) == later


def in_parallel(study, count, workers=3):
    """Asks and tells as several workers do, and notes both in their order."""
    record, running, rng = [], [], random.Random(0)
    while len([event for event in record if event[0] == "asked"]) < count:
        if len(running) < workers:
            number, params = study.ask()
            record.append(("asked", number, params))
            running.append((number, params))
            continue
        number, params = running.pop(rng.randrange(workers))
        record.append(("told", number, metrics(params)))
        study.tell(number, "complete", metrics(params))
    return record


def test_the_record_of_parallel_trials_gives_the_same_suggestions(sampler):
    """What several workers end first depends on the machine; the order of tells is recorded."""
    study = study_of(sampler)
    for kind, number, values in in_parallel(study_of(sampler), trials_for(sampler) + 3):
        if kind == "asked":
            assert study.ask() == (number, values)
        else:
            study.tell(number, "complete", values)


def test_replay_does_not_restart_the_random_sequence():
    first = history(study_of("random"), 10)
    later = history(replayed("random", first), 10)
    assert not {p["learning_rate"] for p in first} & {p["learning_rate"] for p in later}


def test_replayed_trials_count_as_asked():
    study = study_of("grid", small_space())
    grid = list(small_space().grid())
    for number, params in enumerate(grid[:5]):
        study.replay_ask(number, params)
    found = []
    while (asked := study.ask()) is not None:
        found.append(asked)
    assert found == list(enumerate(grid))[5:]


@pytest.mark.parametrize(
    ("name", "attribute"),
    [("nsga2", "NSGAIISampler:generation"), ("nsga3", "NSGAIIISampler:generation")],
)
def test_genetic_generations_survive_a_replay(name, attribute):
    def optuna_generations(study):
        trials = study._study.get_trials(deepcopy=False)
        return [t.system_attrs.get(attribute) for t in trials]

    original = study_of(name, trials=64)
    first = history(original, 64)
    complete = [t for t in original._study.get_trials() if t.state.name == "COMPLETE"]
    generations = [t.system_attrs[attribute] for t in complete]
    assert optuna_generations(replayed(name, first, trials=64)) == generations
    assert max(generations) >= 3


STOPPED = {"val_accuracy": 0.9, "peak_bytes": 10}


def test_a_stopped_trial_counts_in_a_population_and_is_no_model_s(sampler):
    study = study_of(sampler)
    study.tell(study.ask()[0], "stopped", STOPPED)
    (trial,) = study._study.get_trials()
    expected = ("COMPLETE", [0.9, 10]) if sampler in ("nsga2", "nsga3") else ("PRUNED", None)
    assert (trial.state.name, trial.values) == expected


def test_a_trial_stopped_before_it_is_known_how_good_is_left_out():
    study = study_of("nsga2")
    study.tell(study.ask()[0], "stopped", {"peak_bytes": 10})
    assert [trial.state.name for trial in study._study.get_trials()] == ["PRUNED"]


def test_optuna_is_told_the_truth():
    study = study_of("random", trials=8)
    ends = [
        ("complete", {"val_accuracy": 0.5, "peak_bytes": 10}, 0.0),
        ("infeasible", {"peak_bytes": 70}, 2.5),
        ("failed", {"val_accuracy": 0.9}, 0.0),
        ("stopped", STOPPED, 0.0),
    ]
    for state, values, violation in ends:
        study.tell(study.ask()[0], state, values, violation=violation)
    told = [
        (trial.state.name, trial.values, trial.constraints) for trial in study._study.get_trials()
    ]
    assert told == [
        ("COMPLETE", [0.5, 10], {"limits": 0}),
        ("COMPLETE", [0, 70], {"limits": 2.5}),
        ("COMPLETE", [0, 70], {"limits": 1}),
        ("PRUNED", None, {"limits": 0}),
    ]


REFUSED = [
    (0, "complete", {"val_accuracy": math.nan, "peak_bytes": 1}, "finite value of val_accuracy"),
    (0, "complete", {"val_accuracy": 0.5, "peak_bytes": math.inf}, "finite value of peak_bytes"),
    (0, "complete", {"val_accuracy": 0.5}, "finite value of peak_bytes"),
    (1, "failed", {}, "no trial 1 is running"),
]


@pytest.mark.parametrize(("number", "state", "values", "message"), REFUSED)
def test_refused_tells(number, state, values, message):
    study = study_of("random")
    study.ask()
    with pytest.raises(ValueError, match=message):
        study.tell(number, state, values)
    study.tell(0, "failed", {})  # still running
    with pytest.raises(ValueError, match="no trial 0 is running"):
        study.tell(0, "failed", {})


def test_replay_needs_the_order_of_the_record():
    with pytest.raises(ValueError, match="trial 0 must be replayed next, but got 3"):
        study_of("random").replay_ask(3, {})


@pytest.mark.parametrize(
    "objectives", [{"val_accuracy": "max"}, {**OBJECTIVES, "saved_bytes": "min"}]
)
def test_any_number_of_objectives(sampler, objectives):
    if sampler == "memory_aware":
        pytest.skip("searches accuracy against memory; the sweep file is checked for that")
    study = study_of(sampler, objectives=objectives)
    for _ in range(11 if sampler == "gp" else 20):
        number, params = study.ask()
        values = metrics(params)
        study.tell(number, "complete", {**values, "saved_bytes": values["peak_bytes"] / 2})


def test_genetic_search_combines_the_widths():
    """Optuna alone draws what not all trials have at random; here good widths are inherited."""
    best = dict.fromkeys((f"lite_residual.width.{i}" for i in range(4)), 1.0)

    def matching(params):
        return sum(params.get(name) == width for name, width in best.items())

    hits = []
    for seed in range(4):
        study = study_of("nsga2", trials=80, seed=seed, objectives={"val_accuracy": "max"})
        for _ in range(80):
            number, params = study.ask()
            hits.append(matching(params))
            study.tell(number, "complete", {"val_accuracy": matching(params) / 4})
    late = [hit for index, hit in enumerate(hits) if index % 80 >= 40]
    assert sum(late) / len(late) > 1.5  # at random: 4 widths x 1/2 x 1/4 of the methods = 0.5


def test_optuna_says_nothing(capfd):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in SAMPLERS:
            if name != "gp":
                history(study_of(name, small_space()), 8)
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""
