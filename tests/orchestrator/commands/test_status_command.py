"""`tinytl status`: by the record alone, while a process holds it and after it died."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.cli import main
from orchestrator.record import Asked, Ended, Reported, SweepRecord, Told
from tests.sweeps import spec

PARAMS = {"backbone": "proxyless_tiny", "method": "last", "resolution": 24, "batch_size": 4}


def started(directory: Path) -> SweepRecord:
    record = SweepRecord.create(directory, spec().resolved_yaml())
    for number in range(3):
        record.append(Asked(f"digits-{number:04d}", "digits", number, PARAMS))
    record.append(Reported("digits-0000", 1, {"val_accuracy": 0.5}))
    record.append(Told("digits-0001", "complete", {"val_accuracy": 0.5, "peak_bytes": 2_000_000}))
    record.append(Told("digits-0002", "failed", {}, "the loss became nan"))
    return record


def status(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    with pytest.raises(SystemExit) as exit:
        main(["status", *map(str, arguments)])
    assert not exit.value.code
    return " ".join(capsys.readouterr().out.split())  # lines break where the path's length wants


def test_a_running_sweep(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = started(tmp_path / "run")
    found = json.loads(status(capsys, tmp_path / "run", "--json"))
    assert found["state"] == "running"
    assert (found["host"], found["pid"]) == (socket.gethostname(), os.getpid())
    assert found["trials"] == {"complete": 1, "failed": 1}
    assert found["total"] == 5
    assert found["unfinished"] == {"digits-0000": 1}
    assert found["failures"] == {"digits-0002": "the loss became nan"}
    # from 0 % and 2 MB, the largest there is: no area
    assert found["studies"]["digits"] == {
        "complete": 1, "front": ["digits-0001"], "hypervolume": 0.0,
    }  # fmt: skip
    files = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert found["disk_bytes"] >= sum(path.stat().st_size for path in files) > 0
    text = status(capsys, tmp_path / "run")
    assert "running (process" in text
    assert "digits-0000: 1 of 2 epochs" in text
    assert "1 failed (digits-0002): the loss became nan" in text
    record.close()


@pytest.mark.parametrize("ended", ["finished", "stopped", "failed"])
def test_how_it_ended(ended: Ended, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    started(tmp_path / "run").close(ended)
    found = json.loads(status(capsys, tmp_path / "run", "--json"))
    assert found["state"] == ended
    assert found["seconds_left"] is None
    assert ("--resume goes on" in status(capsys, tmp_path / "run")) == (ended != "finished")


HOLDER = """
import sys, time
from pathlib import Path
from orchestrator.record import SweepRecord
record = SweepRecord.resume(Path(sys.argv[1]))
print("ready", flush=True)
time.sleep(600)
"""


def test_a_killed_one_died(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = tmp_path / "run"
    started(directory).close()
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(directory)], stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        found = json.loads(status(capsys, directory, "--json"))
        assert (found["state"], found["pid"]) == ("running", holder.pid)
        holder.send_signal(signal.SIGKILL)
    assert "died" in status(capsys, directory)
    assert json.loads(status(capsys, directory, "--json"))["state"] == "died"
    SweepRecord.resume(directory).close("finished")
    assert json.loads(status(capsys, directory, "--json"))["state"] == "finished"


def test_own_datasets_need_not_be_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = spec().resolved_yaml().replace("datasets: [digits]", "datasets: [my_photos]")
    SweepRecord.create(tmp_path / "run", text).close()
    assert "trials 0/5" in status(capsys, tmp_path / "run")
