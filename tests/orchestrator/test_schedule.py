"""Successive halving keeps whom nobody beats, and the best of trials of like cost."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.inputs.site import Site
from orchestrator.record import SweepRecord
from orchestrator.schedule import Halving, kept, rungs
from orchestrator.spec.settings import HalvingSettings
from orchestrator.sweep import Sweep
from tests.sweeps import spec
from tinytl.errors import ConfigError
from tinytl.finetune import EpochReport

OBJECTIVES = {"val_accuracy": "max", "peak_bytes": "min"}
Reports = Sequence[tuple[float, float]]


def metrics(accuracy: float, megabytes: float) -> dict[str, float]:
    return {"val_accuracy": accuracy, "peak_bytes": megabytes * 1e6}


def of_two_epochs(kept: float) -> HalvingSettings:
    """Returns settings with which this share of the trials goes on after the first of 2 epochs."""
    return HalvingSettings(share=(1 + kept) / 2)


def decisions(
    reports: Sequence[Mapping[str, float]], kept: float = 1 / 2, objectives: Mapping = OBJECTIVES
) -> list[bool]:
    scheduler = Halving(objectives, of_two_epochs(kept))
    return [
        scheduler.goes_on("digits", f"digits-{number}", 1, 2, report)
        for number, report in enumerate(reports)
    ]


LIKE = [(0.9, 5.0), (0.5, 5.1), (0.4, 5.2), (0.3, 5.3)]
CASES = [
    ("the first has nobody to compare with", 1 / 2, [(0.1, 5)], [True]),
    ("better in both goes on", 1 / 2, [(0.5, 2), (0.9, 1)], [True, True]),
    ("the cheap end goes on, however inaccurate", 1 / 4, [(0.9, 9), (0.8, 8), (0.1, 1)],
     [True] * 3),
    ("the accurate end goes on, however large", 1 / 4, [(0.1, 1), (0.2, 2), (0.9, 99)],
     [True] * 3),
    ("all of the front go on", 1 / 4, [(n / 8, n) for n in range(1, 9)], [True] * 8),
    # of 2 neighbours 1 may go on, and 1 is better
    ("worse in both is stopped", 1 / 2, [(0.9, 1), (0.5, 2)], [True, False]),
    ("second of three", 1 / 2, [(0.9, 1), (0.5, 2), (0.8, 2)], [True, False, True]),
    ("one by one worse", 1 / 2, [(0.9, 1), (0.8, 2), (0.7, 3)], [True, False, False]),
    # 5/2 of 5 neighbours and the 3/2 places that the others left free
    ("fourth of five, as of the others one has gone on", 1 / 2, [*LIKE, (0.35, 5.4)],
     [True, False, False, False, True]),
    ("fifth of five", 1 / 2, [*LIKE, (0.2, 5.4)], [True, False, False, False, False]),
    # 5/4 and 1/4
    ("second of five, where one in four goes on", 1 / 4, [*LIKE, (0.8, 5.4)],
     [True, False, False, False, True]),
    ("third of five, where one in four goes on", 1 / 4, [*LIKE, (0.45, 5.4)],
     [True, False, False, False, False]),
    # of 33 trials the 16 nearest in memory count, and that by their ratio
    ("the best among its like, though many cheap ones are better", 1 / 2,
     [(0.9, 1)] * 17 + [(0.3, 40)] * 15 + [(0.5, 40)], [True] * 17 + [False] * 11 + [True] * 5),
    ("the worst among its like", 1 / 2,
     [(0.9, 1)] + [(0.5, 40)] * 16 + [(0.3, 40)], [True, False] + [True] * 15 + [False]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("kept", "reports", "expected"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_who_goes_on(kept: float, reports: Reports, expected: list[bool]) -> None:
    assert decisions([metrics(*report) for report in reports], kept) == expected


RUNGS = [(1, 2, [1, 2, 4, 8, 16]), (1, 3, [1, 3, 9]), (2, 3, [2, 6, 18]), (5, 2, [5, 10])]


@pytest.mark.parametrize(("grace_epochs", "reduction", "expected"), RUNGS)
def test_decisions_fall_at_rungs_only(
    grace_epochs: int, reduction: int, expected: list[int]
) -> None:
    settings = HalvingSettings(grace_epochs=grace_epochs, reduction=reduction, share=0.05)
    scheduler = Halving(OBJECTIVES, settings)
    stopped = []
    for epoch in range(1, 20):
        assert scheduler.goes_on("digits", "good", epoch, 20, metrics(0.9, 1))
        if not scheduler.goes_on("digits", "bad", epoch, 20, metrics(0.1, 9)):
            stopped.append(epoch)
    assert stopped == rungs(settings, 20) == expected


@pytest.mark.parametrize("share", [0.3, 0.45, 0.5, 0.9])
@pytest.mark.parametrize(("grace_epochs", "reduction"), [r[:2] for r in RUNGS])
def test_with_the_kept_share_that_share_of_epochs_is_trained(
    share: float, grace_epochs: int, reduction: int
) -> None:
    settings = HalvingSettings(grace_epochs=grace_epochs, reduction=reduction, share=share)
    ends = [*rungs(settings, 20), 20]
    trials, trained = 1.0, float(ends[0])
    for before, after in pairwise(ends):
        trials *= kept(settings, 20)
        trained += trials * (after - before)
    assert trained == pytest.approx(20 * share)


@pytest.mark.parametrize(("epochs", "share"), [(1, 0.5), (2, 0.5), (2, 0.45), (8, 0.1)])
def test_none_is_kept_where_the_first_rung_takes_the_whole_share(epochs: int, share: float) -> None:
    assert kept(HalvingSettings(share=share), epochs) == 0


@pytest.mark.parametrize("share", [0.3, 0.45, 0.7])
@pytest.mark.parametrize("epochs", [8, 30])
def test_a_sweep_trains_its_share_of_epochs(epochs: int, share: float) -> None:
    rng = np.random.default_rng(0)
    scheduler = Halving(OBJECTIVES, HalvingSettings(share=share))
    trained = 0
    for trial in range(400):
        goal, megabytes, haste = rng.uniform(0.3, 0.9), rng.uniform(1, 9), rng.uniform(0.1, 1)
        for epoch in range(1, epochs + 1):
            trained += 1
            accuracy = goal * (1 - np.exp(-haste * epoch)) + rng.normal(0, 0.02)
            report = metrics(accuracy, megabytes)
            if not scheduler.goes_on("digits", f"digits-{trial}", epoch, epochs, report):
                break
    assert trained / (400 * epochs) == pytest.approx(share, abs=0.03)


def test_a_trial_is_as_good_as_it_has_been() -> None:
    scheduler = Halving(OBJECTIVES, HalvingSettings(share=0.45))
    for epoch, of_one, of_other in [(1, 0.8, 0.9), (2, 0.85, 0.5)]:
        scheduler.goes_on("digits", "one", epoch, 8, metrics(of_one, 1))
        assert scheduler.goes_on("digits", "other", epoch, 8, metrics(of_other, 2))


def test_studies_and_rungs_do_not_mix() -> None:
    scheduler = Halving(OBJECTIVES)
    assert scheduler.goes_on("digits", "digits-0", 1, 8, metrics(0.9, 1))
    assert scheduler.goes_on("cifar10", "cifar10-0", 1, 8, metrics(0.1, 9))
    assert scheduler.goes_on("digits", "digits-1", 2, 8, metrics(0.1, 9))


# few values, so that many are equal
REPORTS = st.lists(
    st.tuples(st.integers(0, 8).map(lambda n: n / 8), st.integers(1, 8)), min_size=1, max_size=24
)
KEPT = st.sampled_from([1 / 8, 1 / 4, 1 / 2, 3 / 4])


def dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    return one[0] >= other[0] and one[1] <= other[1] and tuple(one) != tuple(other)


@given(REPORTS, KEPT)
@settings(deadline=None, max_examples=50)
def test_whom_nobody_beats_goes_on(reports: Reports, kept: float) -> None:
    go_on = decisions([metrics(*report) for report in reports], kept)
    for count, goes_on in enumerate(go_on, start=1):
        *earlier, own = reports[:count]
        assert goes_on or any(dominates(other, own) or other == own for other in earlier)


@given(REPORTS, KEPT)
@settings(deadline=None, max_examples=50)
def test_units_change_nothing(reports: Reports, kept: float) -> None:
    shares = [metrics(*report) for report in reports]
    percents = [{"val_accuracy": 128 * a, "peak_bytes": m} for a, m in reports]
    assert decisions(shares, kept) == decisions(percents, kept)


OTHERS = [
    ("no cost: the better half", {"val_accuracy": "max"},
     [{"val_accuracy": a} for a in (0.5, 0.4, 0.6, 0.5)], [True, False, True, True]),
    ("two costs: the larger difference counts",
     {"val_accuracy": "max", "peak_bytes": "min", "step_seconds": "min"},
     [{"val_accuracy": a, "peak_bytes": 5e6, "step_seconds": s}
      for a, s in [(0.9, 0.1)] * 16 + [(0.2, 3.0)] * 16 + [(0.3, 3.0)]],
     [True] * 16 + [False] * 10 + [True] * 7),
    ("costs alone say nothing", {"peak_bytes": "min"},
     [{"peak_bytes": b} for b in (5e6, 9e6)], [True, True]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("objectives", "reports", "expected"), [c[1:] for c in OTHERS], ids=[c[0] for c in OTHERS]
)
def test_other_objectives(objectives: dict, reports: list[dict], expected: list[bool]) -> None:
    assert decisions(reports, objectives=objectives) == expected


@pytest.mark.parametrize(
    ("sections", "problem"),
    [
        ({"search": {"halving": {"reduction": 3}}}, "search.halving: belongs to scheduler halving"),
        ({"search": {"scheduler": "halving", "halving": {"reduction": 1}}},
         "search.halving.reduction: input should be greater than or equal to 2, but got 1"),
        ({"search": {"scheduler": "halving", "halving": {"grace": 1}}},
         "search.halving: unknown key 'grace': choose one of grace_epochs, reduction, share"),
        ({"search": {"scheduler": "halving", "halving": {"grace_epochs": 2}}},
         "search.halving.grace_epochs: must be less than the 2 epochs of a trial, but got 2"),
        ({"search": {"scheduler": "halving", "halving": {"share": 0.5}}},
         "search.halving.share: must be more than 0.5, as 1 of 2 epochs is trained before any"),
        ({"search": {"scheduler": "halving"}, "train": {"epochs": None},
          "params": {"epochs": [2, 8]}},
         "search.halving.share: must be more than 0.5, as 1 of 2 epochs is trained before any"),
        ({"search": {"scheduler": "halving", "halving": {"share": 1.0}}},
         "search.halving.share: input should be less than 1, but got 1"),
        ({"search": {"scheduler": "halving", "sampler": "grid", "trials": None},
          "objectives": {"test_accuracy": "max"}, "train": {"validation": 0}},
         "search.scheduler: must be none with the objective test_accuracy, but got halving"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_file_is_told(sections: dict, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        spec(**sections)


def test_a_decision_that_a_crash_kept_from_being_told_is_told_on_resume(tmp_path) -> None:
    tiny = spec(search={"scheduler": "halving", "halving": {"share": 0.75}})
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
