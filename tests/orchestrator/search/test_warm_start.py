"""What a study learns from an earlier sweep."""

import math
from pathlib import Path

import pytest

from orchestrator.record import Asked, SweepRecord, Told
from orchestrator.search import SAMPLERS, KnownMemory, Study
from orchestrator.search.warm_start import earlier_trials
from orchestrator.spec.settings import SearchSettings
from orchestrator.spec.space import Choice, Fixed, Parameter, Range, SearchSpace, has_modules

OBJECTIVES = {"val_accuracy": "max", "peak_bytes": "min"}
SPACE = SearchSpace(
    (
        Parameter("backbone", Fixed("proxyless_tiny")),
        Parameter("method", Choice(("last", "tinytl-lite_residual"))),
        Parameter("dropout", Range(0.0, 0.5)),
        Parameter("lite_residual.groups", Choice((2, 4)), has_modules),
    )
)
LAST = {"backbone": "proxyless_tiny", "method": "last", "dropout": 0.1}
MODULES = {**LAST, "method": "tinytl-lite_residual", "lite_residual.groups": 2}
GOOD = {"val_accuracy": 0.5, "peak_bytes": 100}

TRIALS = [
    ("complete", LAST, "complete", GOOD, 0.0),
    ("complete, with modules", MODULES, "complete", GOOD, 0.0),
    ("too big for this sweep", LAST, "complete", {**GOOD, "peak_bytes": 300}, 0.5),
    ("too big for both", LAST, "infeasible", {"peak_bytes": 400}, 1.0),
    ("too big for the earlier sweep alone", LAST, "infeasible", {"peak_bytes": 150}, None),
    ("stopped", LAST, "stopped", GOOD, None),
    ("failed", LAST, "failed", {}, None),
    ("no accuracy", LAST, "complete", {"peak_bytes": 100}, None),
    ("no finite accuracy", LAST, "complete", {**GOOD, "val_accuracy": math.nan}, None),
    ("another backbone", {**LAST, "backbone": "resnet50"}, "complete", GOOD, None),
    ("out of range", {**LAST, "dropout": 0.6}, "complete", GOOD, None),
    ("no such choice", {**MODULES, "lite_residual.groups": 8}, "complete", GOOD, None),
    ("one is missing", {"backbone": "proxyless_tiny", "method": "last"}, "complete", GOOD, None),
    ("one too many", {**LAST, "lite_residual.groups": 2}, "complete", GOOD, None),
    ("a method that is not known", {**LAST, "method": "gone"}, "complete", GOOD, None),
]


def write_sweep(directory: Path, trials: list) -> None:
    record = SweepRecord.create(directory, "name: earlier")
    for number, (params, state, metrics) in enumerate(trials):
        record.append(Asked(f"digits-{number}", "digits", number, params, 100))
        record.append(Told(f"digits-{number}", state, metrics))
    record.append(Asked("pets-0", "pets", 0, LAST, 100))  # another study
    record.append(Told("pets-0", "complete", GOOD))
    record.append(Asked("digits-0-seed-7", "digits", 0, LAST, 100, confirms="digits-0"))
    record.append(Told("digits-0-seed-7", "complete", GOOD))
    record.append(Asked("digits-99", "digits", 99, LAST, 100))  # never ended
    record.close()


@pytest.mark.parametrize(("params", "state", "metrics", "violation"), [t[1:] for t in TRIALS],
                         ids=[t[0] for t in TRIALS])  # fmt: skip
def test_what_is_learned(params, state, metrics, violation, tmp_path):
    write_sweep(tmp_path, [(params, state, metrics)])
    found = list(earlier_trials(tmp_path, "digits", SPACE, OBJECTIVES, {"peak_bytes": 200}))
    if violation is None:
        assert found == []
    else:
        (earlier,) = found
        assert (earlier.params, earlier.values) == (params, metrics)
        assert earlier.violation == pytest.approx(violation)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_earlier_trials_are_none_of_the_study(sampler, tmp_path):
    trials = [({**LAST, "dropout": d / 100}, "complete", GOOD) for d in range(20)]
    write_sweep(tmp_path, [*trials, (LAST, "infeasible", {"peak_bytes": 400})])
    known = KnownMemory(lambda params: 100)
    search = SearchSettings(sampler=sampler, trials=10)
    space = SPACE if sampler != "grid" else SearchSpace(SPACE.parameters[:2])
    study = Study("digits", space, OBJECTIVES, search, known)
    for earlier in earlier_trials(tmp_path, "digits", SPACE, OBJECTIVES, {"peak_bytes": 200}):
        study.add_earlier(earlier)
    numbers = []
    for _ in range(2):
        number, _ = study.ask()
        numbers.append(number)
        study.tell(number, "complete", GOOD)
    assert numbers == [0, 1]
