"""What a sweep could not upload, `tinytl sync` uploads, once."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from orchestrator.cli import main
from orchestrator.record import Asked, SweepRecord, Told
from orchestrator.tracking.tracker import STORE_FILE
from tests.sweeps import spec

PARAMS = {"backbone": "proxyless_tiny", "method": "last", "resolution": 24, "batch_size": 4}
VALUES = {"val_accuracy": 0.5, "peak_bytes": 2_000_000.0}


def recorded(directory: Path, **sections) -> SweepRecord:
    """A sweep whose tracker never ran: two trials, one of them complete."""
    record = SweepRecord.create(directory, spec(**sections).resolved_yaml())
    for number in range(2):
        record.append(Asked(f"digits-{number:04d}", "digits", number, PARAMS))
    record.append(Told("digits-0000", "complete", VALUES))
    return record


def sync(*arguments: object) -> int:
    with pytest.raises(SystemExit) as exit:
        main(["sync", *map(str, arguments)])
    return int(exit.value.code or 0)


def runs_in(directory: Path) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(directory / STORE_FILE)) as store:
        return sorted(store.execute("select name, status from runs"))


@pytest.mark.integration
def test_each_run_is_uploaded_once(tmp_path: Path) -> None:
    recorded(tmp_path / "run").close()
    for _ in range(2):
        assert sync(tmp_path / "run") == 0
        assert runs_in(tmp_path / "run") == [
            ("digits", "SCHEDULED"), ("digits-0000", "FINISHED"), ("digits-0001", "SCHEDULED"),
        ]  # fmt: skip


def test_a_running_sweep_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = recorded(tmp_path / "run")
    assert sync(tmp_path / "run") == 2
    assert "is in use by another running sweep" in capsys.readouterr().err
    record.close()


@pytest.mark.integration
def test_a_server_that_is_away_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    away = {"uri": "http://127.0.0.1:9"}
    recorded(tmp_path / "run", tracking=away).close()
    assert sync(tmp_path / "run", "--minutes", "0.02") == 2
    error = " ".join(capsys.readouterr().err.split())
    assert "not all could be uploaded" in error and "nothing is lost" in error
