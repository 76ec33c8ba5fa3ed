"""The benchmark of overhead: what it counts, and that it runs."""

import pytest

from benchmarks.systems import overhead
from benchmarks.systems.overhead import (
    draw_many,
    draw_overhead,
    measure_driver,
    measure_overhead,
    print_many,
    print_overhead,
    seconds_of_ours,
    seconds_of_peer,
)


@pytest.mark.parametrize(("ours", "holds"), [(55.0, True), (55.1, False)])
def test_the_bound_is_for_ours(
    ours: float, holds: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    taken = {"nsga2": 52.0, "random": ours, "memory_aware": 53.0}
    monkeypatch.setattr(overhead, "seconds_of_ours", lambda sampler, *what: taken[sampler])
    monkeypatch.setattr(overhead, "seconds_of_peer", lambda *what: 100.0)
    found = measure_overhead(200, 0.5, 2)
    assert found["holds"] == holds
    assert [run["times_ideal"] for run in found["runs"]] == [
        1.06, 1.04, ours / 50, 20.0, 20.0,  # peers run a tenth of the trials
    ]  # fmt: skip
    print_overhead(found)
    assert ("DOES NOT HOLD" in capsys.readouterr().out) != holds
    assert draw_overhead(found).startswith(b"\x89PNG")


def test_the_driver_is_measured_by_the_thousand(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(overhead, "CHUNK", 20)
    found = measure_driver("random", 60)
    assert len(found["milliseconds_a_trial"]) == 3
    assert found["last_to_first"] > 0
    results = {"trials": 60, "samplers": [found]}
    print_many(results)
    assert "random" in capsys.readouterr().out
    assert draw_many(results).startswith(b"\x89PNG")


@pytest.mark.integration
@pytest.mark.cluster
def test_trials_that_sleep_are_timed() -> None:
    assert 0.4 <= seconds_of_ours("random", 4, 0.2, 2) < 4


@pytest.mark.integration
def test_a_peer_is_timed_in_its_own_process() -> None:
    assert 0.4 <= seconds_of_peer("optuna", 4, 0.2, 2) < 4
