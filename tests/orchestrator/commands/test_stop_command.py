"""`tinytl stop`: a running sweep ends cleanly, from another process, on either backend."""

import json
import time
from pathlib import Path

import pytest

from orchestrator.cli import main
from orchestrator.record import Reported, SweepRecord, read_process
from tests.sweeps import events, run, spec, start_driver, states, wait_for_reports


def stop(directory: Path, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as exit:
        main(["stop", str(directory)])
    assert not exit.value.code
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("ended", "said"), [("finished", "it finished"), ("stopped", "it is stopped")]
)
def test_where_nothing_runs_it_says_so(
    ended: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = tmp_path / "run"
    SweepRecord.create(directory, spec().resolved_yaml()).close(ended)
    assert f"nothing runs in {directory}; {said}" in stop(directory, capsys)
    assert not (directory / "stop").exists()


def test_resume_takes_the_wish_back(tmp_path: Path) -> None:
    SweepRecord.create(tmp_path, "name: x\n").close()
    (tmp_path / "stop").touch()
    record = SweepRecord.resume(tmp_path)
    assert not record.stop_requested
    record.close()


@pytest.mark.integration
@pytest.mark.parametrize("backend", ["local", pytest.param("ray", marks=pytest.mark.cluster)])
def test_a_stopped_sweep_goes_on_where_it_was(
    backend: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = tmp_path / "run"
    with start_driver(directory, backend) as driver:
        wait_for_reports(directory, 3)
        began = time.monotonic()
        printed = stop(directory, capsys)
        assert f"asked process {driver.pid}" in printed
        assert f"{directory} is stopped after" in printed
        assert time.monotonic() - began < 60
        assert driver.wait(timeout=60) == 0
    process = read_process(directory)
    assert process is not None and process.state == "stopped"
    assert set(states(directory)) <= {"complete"}
    before = events(directory)
    # here on this process: that Ray resumes is shown where it is killed
    assert run(directory, "local", resume=True, train={"epochs": 6, "train_images": 60})
    assert events(directory)[: len(before)] == before
    assert states(directory) == {"complete": 5}
    for trial in {event.trial for event in before}:
        epochs = [
            e.epoch for e in events(directory) if isinstance(e, Reported) and e.trial == trial
        ]
        assert epochs == [1, 2, 3, 4, 5, 6], "an epoch was lost or doubled"
    assert json.loads((directory / "process").read_text())["state"] == "finished"
