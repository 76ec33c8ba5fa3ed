"""Successive halving keeps whom nobody beats, and of trials of like cost one in so many."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.inputs.site import Site
from orchestrator.record import SweepRecord
from orchestrator.schedule import Halving
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


LIKE = [(0.9, 5.0), (0.5, 5.1), (0.4, 5.2), (0.3, 5.3)]
CASES = [
    ("the first has nobody to compare with", 2, [(0.1, 5)], [True]),
    ("worse in both is stopped", 2, [(0.9, 1), (0.5, 2)], [True, False]),
    ("better in both goes on", 2, [(0.5, 2), (0.9, 1)], [True, True]),
    ("the cheap end goes on, however inaccurate", 3, [(0.9, 9), (0.8, 8), (0.1, 1)], [True] * 3),
    ("the accurate end goes on, however large", 3, [(0.1, 1), (0.2, 2), (0.9, 99)], [True] * 3),
    ("all of the front go on", 2, [(n / 8, n) for n in range(1, 9)], [True] * 8),
    ("one by one worse", 2, [(0.9, 1), (0.8, 2), (0.7, 3), (0.6, 4)], [True] + [False] * 3),
    ("second of five", 2, [*LIKE, (0.8, 5.4)], [True, False, False, False, True]),
    ("third of five", 2, [*LIKE, (0.45, 5.4)], [True, False, False, False, True]),
    ("fourth of five", 2, [*LIKE, (0.35, 5.4)], [True, False, False, False, False]),
    ("third of five, where one in three goes on", 3, [*LIKE, (0.45, 5.4)],
     [True, False, False, False, False]),
    ("nobody is worse than the same", 3, [(0.9, 1)] * 4, [True] * 4),
    # of 17 trials the 8 nearest in memory count, and that by their ratio
    ("the best among its like, though many cheap ones are better", 2,
     [(0.9, 1)] * 9 + [(0.3, 40)] * 7 + [(0.5, 40)], [True] * 9 + [False] * 4 + [True] * 4),
    ("the worst among its like", 2,
     [(0.9, 1)] + [(0.5, 40)] * 8 + [(0.3, 40)], [True] + [False] + [True] * 7 + [False]),
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


@given(REPORTS, REDUCTION)
@settings(deadline=None, max_examples=50)
def test_whom_nobody_beats_goes_on(reports: Reports, reduction: int) -> None:
    for count, goes_on in enumerate(decisions(reports, reduction=reduction), start=1):
        *earlier, own = reports[:count]
        assert goes_on or any(dominates(other, own) or other == own for other in earlier)


@given(st.lists(st.tuples(st.floats(0, 1), st.just(5)), min_size=1, max_size=8), REDUCTION)
@settings(deadline=None, max_examples=50)
def test_at_one_cost_it_is_halving_on_accuracy(reports: Reports, reduction: int) -> None:
    for count, goes_on in enumerate(decisions(reports, reduction=reduction), start=1):
        *earlier, own = (accuracy for accuracy, _ in reports[:count])
        assert goes_on == (sum(other > own for other in earlier) < count / reduction)


@given(REPORTS, REDUCTION)
@settings(deadline=None, max_examples=50)
def test_units_change_nothing(reports: Reports, reduction: int) -> None:
    how = HalvingSettings(reduction=reduction)
    shares, percents = Halving(OBJECTIVES, how), Halving(OBJECTIVES, how)
    for accuracy, megabytes in reports:
        share = {"val_accuracy": accuracy, "peak_bytes": megabytes * 1e6}
        percent = {"val_accuracy": 128 * accuracy, "peak_bytes": megabytes}
        assert shares.goes_on("x", 1, share) == percents.goes_on("x", 1, percent)


OTHERS = [
    ("no cost: the better half", {"val_accuracy": "max"},
     [{"val_accuracy": a} for a in (0.5, 0.4, 0.6, 0.5)], [True, False, True, True]),
    ("two costs: the larger difference counts",
     {"val_accuracy": "max", "peak_bytes": "min", "step_seconds": "min"},
     [{"val_accuracy": a, "peak_bytes": 5e6, "step_seconds": s}
      for a, s in [(0.9, 0.1)] * 8 + [(0.2, 3.0)] * 8 + [(0.3, 3.0)]],
     [True] * 8 + [False] * 4 + [True] * 4 + [True]),
    ("costs alone say nothing", {"peak_bytes": "min"},
     [{"peak_bytes": b} for b in (5e6, 9e6)], [True, True]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("objectives", "reports", "expected"), [c[1:] for c in OTHERS], ids=[c[0] for c in OTHERS]
)
def test_other_objectives(objectives: dict, reports: list[dict], expected: list[bool]) -> None:
    scheduler = Halving(objectives)
    assert [scheduler.goes_on("digits", 1, report) for report in reports] == expected


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
