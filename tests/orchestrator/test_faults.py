"""Whatever dies: every finished trial is there once, others go on where they were."""

from pathlib import Path

import pytest

from benchmarks.systems.faults.injections import FAULTS, Fault
from benchmarks.systems.faults.scene import Place
from benchmarks.systems.faults.strike import strike

ON_RAY = [pytest.mark.cluster, pytest.mark.integration]
CASES = [
    pytest.param(
        fault, place, id=f"{fault.name}, {place}", marks=[] if place == "local" else ON_RAY
    )
    for fault in FAULTS
    for place in fault.places
]


@pytest.mark.parametrize(("fault", "place"), CASES)
def test_nothing_is_lost(fault: Fault, place: Place, tmp_path: Path) -> None:
    try:
        found = strike(fault, place, tmp_path)
    except PermissionError as error:
        pytest.skip(str(error))
    assert found.finished > 0
    assert found.is_clean, found
