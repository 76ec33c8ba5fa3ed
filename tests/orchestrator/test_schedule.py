"""Successive halving keeps the better half, and the cheap end of the front."""

import pytest

from orchestrator.schedule import Halving

OBJECTIVES = {"val_accuracy": "max", "peak_bytes": "min"}


def metrics(accuracy: float, megabytes: float) -> dict[str, float]:
    return {"val_accuracy": accuracy, "peak_bytes": megabytes * 1e6}


def decisions(reports: list[tuple[float, float]], epoch: int = 1) -> list[bool]:
    scheduler = Halving(OBJECTIVES)
    return [scheduler.goes_on("digits", epoch, metrics(*report)) for report in reports]


CASES = [
    ("the first has nobody to compare with", [(0.1, 5)], [True]),
    ("worse in both is stopped", [(0.9, 1), (0.5, 2)], [True, False]),
    ("better in both goes on", [(0.5, 2), (0.9, 1)], [True, True]),
    ("the cheap end goes on, however inaccurate", [(0.9, 9), (0.8, 8), (0.1, 1)], [True] * 3),
    ("the accurate end goes on, however large", [(0.1, 1), (0.2, 2), (0.9, 99)], [True] * 3),
    # ranks 1, 2, 3, 4: two better than the third, which is half of the three so far
    ("one by one worse", [(0.9, 1), (0.8, 2), (0.7, 3), (0.6, 4)], [True, False, False, False]),
    ("second of five", [(0.9, 1), (0.5, 5), (0.4, 6), (0.3, 7), (0.8, 2)],
     [True, False, False, False, True]),
]  # fmt: skip


@pytest.mark.parametrize(("reports", "expected"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_who_goes_on(reports: list[tuple[float, float]], expected: list[bool]) -> None:
    assert decisions(reports) == expected


@pytest.mark.parametrize(
    ("epoch", "is_rung"), [(1, True), (2, True), (3, False), (4, True), (6, False), (8, True)]
)
def test_decisions_fall_at_rungs_only(epoch: int, is_rung: bool) -> None:
    assert decisions([(0.9, 1), (0.1, 9)], epoch) == [True, not is_rung]


def test_studies_and_rungs_do_not_mix() -> None:
    scheduler = Halving(OBJECTIVES)
    assert scheduler.goes_on("digits", 1, metrics(0.9, 1))
    assert scheduler.goes_on("cifar10", 1, metrics(0.1, 9))
    assert scheduler.goes_on("digits", 2, metrics(0.1, 9))
