"""Search in real sweeps: known memory, and trials of an earlier sweep."""

from pathlib import Path

import pytest

from orchestrator.record import Asked
from tests.sweeps import events, run, states
from tinytl.errors import ConfigError


def asked(directory: Path) -> list[Asked]:
    return [event for event in events(directory) if isinstance(event, Asked)]


def test_nothing_above_the_limit_is_asked_for(tmp_path: Path) -> None:
    run(tmp_path / "run", "local", search={"sampler": None, "trials": 4},
        limits={"peak_bytes": 950_000})  # fmt: skip
    assert states(tmp_path / "run") == {"complete": 4}
    assert all(event.predicted_bytes <= 950_000 for event in asked(tmp_path / "run"))


def test_a_warm_start_adds_no_trials(tmp_path: Path) -> None:
    run(tmp_path / "earlier", "local", search={"trials": 4})
    search = {"sampler": "tpe", "trials": 2, "warm_start": str(tmp_path / "earlier")}
    run(tmp_path / "later", "local", search=search)
    assert [event.trial for event in asked(tmp_path / "later")] == ["digits-0000", "digits-0001"]
    assert states(tmp_path / "later") == {"complete": 2}
    run(tmp_path / "later", "local", resume=True, search={**search, "trials": 3})
    assert states(tmp_path / "later") == {"complete": 3}


def test_a_warm_start_from_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"search\.warm_start: .*gone holds no sweep"):
        run(tmp_path / "run", "local", search={"warm_start": str(tmp_path / "gone")})
    assert not (tmp_path / "run").exists()
