"""Successive halving keeps one in so many, those that stand apart, and the ends of the front."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.inputs.site import Site
from orchestrator.record import SweepRecord
from orchestrator.schedule import Halving, crowding_distances
from orchestrator.spec.settings import HalvingSettings
from orchestrator.sweep import Sweep
from tests.sweeps import spec
from tinytl.errors import ConfigError
from tinytl.finetune import EpochReport

OBJECTIVES = {"val_accuracy": "max", "peak_bytes": "min"}
Reports = Sequence[tuple[float, float]]


def metrics(accuracy: float, megabytes: float) -> dict[str, float]:
    return {"val_accuracy": accuracy, "peak_bytes": megabytes * 1e6}


def decisions(reports: Reports, epoch: int = 1, *, reduction: int = 2) -> list[bool]:
    scheduler = Halving(OBJECTIVES, HalvingSettings(reduction=reduction))
    return [scheduler.goes_on("digits", epoch, metrics(*report)) for report in reports]


CASES = [
    ("the first has nobody to compare with", 2, [(0.1, 5)], [True]),
    ("worse in both is stopped", 2, [(0.9, 1), (0.5, 2)], [True, False]),
    ("better in both goes on", 2, [(0.5, 2), (0.9, 1)], [True, True]),
    ("the cheap end goes on, however inaccurate", 3, [(0.9, 9), (0.8, 8), (0.1, 1)], [True] * 3),
    ("the accurate end goes on, however large", 3, [(0.1, 1), (0.2, 2), (0.9, 99)], [True] * 3),
    # ranks 1, 2, 3, 4
    ("one by one worse", 2, [(0.9, 1), (0.8, 2), (0.7, 3), (0.6, 4)], [True] + [False] * 3),
    # one is better than the last of five, and two of five may be
    ("second of five", 2, [(0.9, 1), (0.5, 5), (0.4, 6), (0.3, 7), (0.8, 2)],
     [True, False, False, False, True]),
    ("one in three, not one in two", 3, [(0.9, 1), (0.5, 5), (0.4, 6), (0.8, 2)],
     [True, False, False, True]),
    ("one in four, not one in three", 4, [(0.9, 1), (0.5, 5), (0.4, 6), (0.8, 2)],
     [True, False, False, False]),
    ("among its like on the front", 2, [(0.1, 1), (0.9, 9), (0.49, 4.9), (0.51, 5.1), (0.50, 5)],
     [True, True, False, False, False]),
    ("apart from the others on the front", 2,
     [(0.1, 1), (0.9, 9), (0.20, 2), (0.21, 2.1), (0.6, 6)], [True, True, False, False, True]),
    ("of the same only the first is an end", 3, [(0.9, 1)] * 3, [True, False, False]),
    ("nobody is worse than the same", 2, [(0.9, 1)] * 4, [True, False, True, True]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("reduction", "reports", "expected"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_who_goes_on(reduction: int, reports: Reports, expected: list[bool]) -> None:
    assert decisions(reports, reduction=reduction) == expected


RUNGS = [(1, 2, [1, 2, 4, 8, 16]), (1, 3, [1, 3, 9]), (2, 3, [2, 6, 18]), (5, 2, [5, 10, 20])]


@pytest.mark.parametrize(("grace_epochs", "reduction", "expected"), RUNGS)
def test_decisions_fall_at_rungs_only(
    grace_epochs: int, reduction: int, expected: list[int]
) -> None:
    scheduler = Halving(OBJECTIVES, HalvingSettings(grace_epochs=grace_epochs, reduction=reduction))
    rungs = []
    for epoch in range(1, 21):
        assert scheduler.goes_on("digits", epoch, metrics(0.9, 1))
        if not scheduler.goes_on("digits", epoch, metrics(0.1, 9)):
            rungs.append(epoch)
    assert rungs == expected


def test_studies_and_rungs_do_not_mix() -> None:
    scheduler = Halving(OBJECTIVES)
    assert scheduler.goes_on("digits", 1, metrics(0.9, 1))
    assert scheduler.goes_on("cifar10", 1, metrics(0.1, 9))
    assert scheduler.goes_on("digits", 2, metrics(0.1, 9))


# few values, so that many are equal
REPORTS = st.lists(
    st.tuples(st.integers(0, 8).map(lambda n: n / 8), st.integers(1, 8)), min_size=1, max_size=24
)
REDUCTION = st.integers(2, 5)


def dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    return one[0] >= other[0] and one[1] <= other[1] and tuple(one) != tuple(other)


def peeled(reports: Reports) -> list[int]:
    """Ranks, by peeling off one front after the other."""
    ranks: dict[int, int] = {}
    rank = 0
    while left := [i for i in range(len(reports)) if i not in ranks]:
        best = [i for i in left if not any(dominates(reports[j], reports[i]) for j in left)]
        ranks |= dict.fromkeys(best, rank)
        rank += 1
    return [ranks[i] for i in range(len(reports))]


@given(REPORTS, REDUCTION)
@settings(deadline=None, max_examples=50)
def test_who_is_worse_than_enough_others_is_stopped(reports: Reports, reduction: int) -> None:
    for count, goes_on in enumerate(decisions(reports, reduction=reduction), start=1):
        *ranks, own = peeled(reports[:count])
        if own > 0:
            better, equal = (sum(test(rank) for rank in ranks) for test in (own.__gt__, own.__eq__))
            assert not goes_on or better < count / reduction
            assert goes_on or better + equal >= count / reduction


@given(REPORTS, REDUCTION)
@settings(deadline=None, max_examples=50)
def test_ends_of_the_front_are_never_stopped(reports: Reports, reduction: int) -> None:
    for count, goes_on in enumerate(decisions(reports, reduction=reduction), start=1):
        *earlier, (accuracy, megabytes) = reports[:count]
        cheapest = all(megabytes < other for _, other in earlier)
        most_accurate = all(accuracy > other for other, _ in earlier)
        assert goes_on or not (cheapest or most_accurate)


@given(REPORTS, REDUCTION)
@settings(deadline=None, max_examples=50)
def test_units_and_directions_change_nothing(reports: Reports, reduction: int) -> None:
    how = HalvingSettings(reduction=reduction)
    plain = Halving({"a": "max", "b": "min"}, how)
    turned = Halving({"b": "max", "a": "min"}, how)
    for accuracy, megabytes in reports:
        assert plain.goes_on("x", 1, {"a": accuracy, "b": megabytes}) == turned.goes_on(
            "x", 1, {"a": -4 * accuracy, "b": -1024 * megabytes}
        )


@given(REPORTS)
@settings(deadline=None, max_examples=50)
def test_crowding_distances_are_those_of_the_definition(reports: Reports) -> None:
    best = sorted({r for r, rank in zip(reports, peeled(reports), strict=True) if rank == 0})
    found = crowding_distances(np.array([[-accuracy, megabytes] for accuracy, megabytes in best]))
    for index, distance in enumerate(found):
        if index in (0, len(best) - 1):
            assert math.isinf(distance)
            continue
        before, after = best[index - 1], best[index + 1]
        expected = sum((after[i] - before[i]) / (best[-1][i] - best[0][i]) for i in (0, 1))
        assert distance == pytest.approx(expected)


@pytest.mark.parametrize(
    ("sections", "problem"),
    [
        ({"search": {"halving": {"reduction": 3}}}, "search.halving: belongs to scheduler halving"),
        ({"search": {"scheduler": "halving", "halving": {"reduction": 1}}},
         "search.halving.reduction: input should be greater than or equal to 2, but got 1"),
        ({"search": {"scheduler": "halving", "halving": {"grace": 1}}},
         "search.halving: unknown key 'grace': choose one of grace_epochs, reduction"),
        ({"search": {"scheduler": "halving", "halving": {"grace_epochs": 2}}},
         "search.halving.grace_epochs: must be less than the 2 epochs of a trial, but got 2"),
        ({"search": {"scheduler": "halving", "sampler": "grid", "trials": None},
          "objectives": {"test_accuracy": "max"}, "train": {"validation": 0}},
         "search.scheduler: must be none with the objective test_accuracy, but got halving"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_file_is_told(sections: dict, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        spec(**sections)


def test_a_decision_that_a_crash_kept_from_being_told_is_told_on_resume(tmp_path) -> None:
    tiny = spec(search={"scheduler": "halving"})
    site = Site(None, None, "cpu", {"digits": 10}, lambda *_: 1_000_000)
    record = SweepRecord.create(tmp_path / "run", tiny.resolved_yaml())
    sweep = Sweep(tiny, record, site)
    first, second = sweep.ask(), sweep.ask()
    assert sweep.report(first.trial, EpochReport(1, metrics(0.9, 1)))
    tell = record.append

    def crash_before_told(event) -> None:
        if event.kind == "told":
            raise KeyboardInterrupt
        tell(event)

    record.append = crash_before_told
    with pytest.raises(KeyboardInterrupt):
        sweep.report(second.trial, EpochReport(1, metrics(0.1, 9)))
    record.close()
    again = Sweep(tiny, SweepRecord.resume(tmp_path / "run"), site)
    assert again.unfinished == [first.trial, second.trial]
    assert again.report(first.trial, EpochReport(1, metrics(0.9, 1)))
    assert not again.report(second.trial, EpochReport(1, metrics(0.1, 9)))
    assert again.snapshot().states == {"stopped": 1}
    again.record.close()
