"""Sweeps in virtual time are those that the local backend would run."""

import math

import numpy as np
import pytest

from orchestrator.fronts.pareto import hypervolume, points, reference_point
from orchestrator.record import Asked, Reported, Told
from orchestrator.simulation.compare import compare, simulate, with_search
from orchestrator.simulation.oracle import Course, Oracle
from orchestrator.simulation.report import numbers, picture, target
from tinytl.errors import ConfigError


@pytest.fixture
def oracles(spec, rows):
    return {"digits": Oracle(spec, "digits", rows)}


def test_every_trial_goes_as_the_oracle_says(spec, oracles):
    events = simulate(spec, oracles, workers=3)
    asked = {event.trial: event for event in events if isinstance(event, Asked)}
    assert len(asked) == 20
    for told in (event for event in events if isinstance(event, Told)):
        course = oracles["digits"].course(asked[told.trial].params)
        reports = [e for e in events if isinstance(e, Reported) and e.trial == told.trial]
        assert [r.metrics["val_accuracy"] for r in reports] == list(course.accuracy)
        assert told.metrics["peak_bytes"] == course.peak_bytes == asked[told.trial].predicted_bytes
        assert told.time - asked[told.trial].time == pytest.approx(sum(course.seconds))


@pytest.mark.parametrize("workers", [1, 3])
def test_virtual_time_is_that_of_so_many_workers(spec, oracles, workers):
    events = simulate(spec, oracles, workers)
    assert [e.time for e in events] == sorted(e.time for e in events)
    running = most = 0
    for event in events:
        running += isinstance(event, Asked) - isinstance(event, Told)
        most = max(most, running)
    assert most == workers
    courses = [oracles["digits"].course(e.params) for e in events if isinstance(e, Asked)]
    work = sum(sum(course.seconds) for course in courses)
    longest = max(sum(course.seconds) for course in courses)
    assert work / workers <= events[-1].time * (1 + 1e-9)
    assert events[-1].time <= work / workers + longest


def test_limits_hold_in_virtual_time(spec, oracles):
    all_events = simulate(spec, oracles, 1)
    seconds = all_events[-1].time / 2
    limits = spec.limits.model_copy(update={"hours": seconds / 3600})
    events = simulate(spec.model_copy(update={"limits": limits}), oracles, 1)
    assert events == all_events[: len(events)]
    asked = [event.time for event in events if isinstance(event, Asked)]
    assert asked[-1] <= seconds < events[-1].time  # the last is not cut off


def test_failed_trials_are_told_as_failed(spec, oracles, monkeypatch):
    oracle = oracles["digits"]
    whole = oracle.course

    def first_epoch(params):
        course = whole(params)
        return Course(course.peak_bytes, course.accuracy[:1], course.seconds[:1])

    monkeypatch.setattr(oracle, "course", first_epoch)
    states = [e.state for e in simulate(spec, oracles, 2) if isinstance(e, Told)]
    assert states == ["failed"] * 20


def test_traces_agree_with_the_events(spec, oracles):
    (contender,) = compare(spec, oracles, ["random"], ["none"], seeds=2, workers=2)
    for seed, trace in enumerate(contender.traces):
        events = simulate(with_search(spec, seed=seed), oracles, 2)
        found = points(events)["digits"]
        recorded = points_of(oracles["digits"].complete)
        reference = reference_point(recorded, spec.objectives, {})
        assert trace.hypervolume[-1] == hypervolume(found, spec.objectives, reference)
        assert trace.epochs[-1] == sum(isinstance(event, Reported) for event in events) == 80
        assert trace.seconds[-1] == events[-1].time
    assert contender.by_trials.shape == (2, 20)
    assert np.all(np.diff(contender.by_trials) >= 0)
    at_end = contender.at(np.array([0.0, contender.seconds.max()]))
    assert list(at_end[:, 1]) == list(contender.final)
    assert list(at_end[:, 0]) == [0, 0]


def points_of(rows):
    from orchestrator.fronts.pareto import Point

    return [
        Point("", r.params, {"val_accuracy": r.accuracy[-1], "peak_bytes": r.peak_bytes})
        for r in rows
    ]


def test_halving_trains_fewer_epochs(spec, oracles):
    longer = with_search(spec, trials=80)
    plain, halved = compare(longer, oracles, ["random"], ["none", "halving"], seeds=2, workers=1)
    assert (plain.name, halved.name) == ("random", "random, halving")
    assert halved.epochs.mean() < 0.8 * plain.epochs.mean()


def test_the_report_says_the_same_as_the_contenders(spec, oracles):
    contenders = compare(spec, oracles, ["random", "nsga2"], ["none"], seeds=3, workers=1)
    goal = target(contenders)
    for contender, found in zip(contenders, numbers(contenders), strict=True):
        assert found["final_hypervolume"] == list(contender.final)
        mean = found["by_trials"]["mean"]
        assert mean[-1] == pytest.approx(contender.final.mean())
        deviation = contender.final.std(ddof=1)
        assert found["by_trials"]["standard_error"][-1] == pytest.approx(deviation / math.sqrt(3))
        reached = [trial + 1 for trial, volume in enumerate(mean) if volume >= goal]
        assert found["trials_to_target"] == (reached[0] if reached else None)
    assert picture(contenders, "a $ title").startswith(b"\x89PNG")


def test_a_sampler_that_does_not_fit_is_refused(spec, oracles):
    with pytest.raises(ConfigError, match="sampler grid needs finitely many values"):
        compare(spec, oracles, ["grid"], ["none"], seeds=1, workers=1)
