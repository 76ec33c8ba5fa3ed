"""Where a sweep stands, computed by hand."""

import pytest

from orchestrator.record import Asked, Reported, Told
from orchestrator.record.history import History
from orchestrator.record.snapshot import snapshot
from tests.sweeps import spec

PARAMS = {"method": "last"}
EVENTS = [
    Asked("digits-0000", "digits", 0, PARAMS, time=10.0),
    Reported("digits-0000", 1, {}, time=50.0),  # of an earlier process
    Asked("digits-0001", "digits", 1, PARAMS, time=101.0),
    Reported("digits-0000", 2, {}, time=104.0),
    Told("digits-0000", "complete", {"val_accuracy": 0.5, "peak_bytes": 2_000_000}, time=104.0),
    Asked("digits-0002", "digits", 2, PARAMS, time=104.0),
    Told("digits-0002", "failed", {}, "it broke", time=105.0),
    Asked("digits-0003", "digits", 3, PARAMS, time=105.0),
    Reported("digits-0001", 1, {}, time=106.0),
    Reported("digits-0003", 1, {}, time=108.0),
]


def history(events: list) -> History:
    found = History(since=100.0)
    for event in events:
        found.add(event)
    return found


def test_numbers() -> None:
    found = snapshot(spec(), history(EVENTS), 110.0, waiting=1)
    assert found.states == {"complete": 1, "failed": 1}
    assert found.failures == {"digits-0002": "it broke"}
    assert found.unfinished == {"digits-0001": 1, "digits-0003": 1}
    assert found.running == 1
    assert found.total == 5
    assert [point.trial for point in found.fronts["digits"]] == ["digits-0000"]
    assert found.seconds == 10.0
    # 3 epochs since 100 s, the first at 104 s; left: 1 of each unfinished trial, 2 of the fifth
    assert found.seconds_left == pytest.approx((110 - 104) / 2 * (1 + 1 + 2))


@pytest.mark.parametrize("count", [0, 1, 3, 4])
def test_no_pace_no_time_left(count: int) -> None:
    assert snapshot(spec(), history(EVENTS[:count]), 110.0).seconds_left is None


def test_what_confirms_is_counted_and_is_no_point() -> None:
    confirming = Asked(
        "digits-0000-seed-1", "digits", 0, PARAMS, confirms="digits-0000", time=109.0
    )
    told = Told("digits-0000-seed-1", "complete", {"val_accuracy": 0.9, "peak_bytes": 1})
    found = snapshot(spec(), history([*EVENTS, confirming, told]), 110.0)
    assert found.total == 6
    (point,) = found.points["digits"]
    assert point.trial == "digits-0000" and point.values["val_accuracy"] == 0.5
    assert point.confirmations == ({"val_accuracy": 0.9, "peak_bytes": 1},)
