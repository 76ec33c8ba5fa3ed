import json
import signal
import socket
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from orchestrator.fronts.pareto import front, front_csv, points
from orchestrator.record import Asked, Reported, SweepRecord, Told, read_events
from orchestrator.tracking import background
from orchestrator.tracking.mirror import CURSOR_FILE, Cursor
from orchestrator.tracking.tracker import STORE_FILE
from tests.tracked import (
    BEGAN,
    HOSTILE,
    OBJECTIVES,
    STATUS,
    by_name,
    caught_up,
    client_of,
    content,
    copy_store,
    free_port,
    mirror,
    runs_of,
    served,
    story,
    tracker_of,
    wait_for,
)

FRONT_FILES = {"front.html", "front.png", "front.csv", "front.json", "sweep.yaml"}


def test_store_holds_what_the_events_say(record):
    events = story("a", 10) + story("b", 5, unfinished=[3])
    mirror(record, events)
    client = client_of(record.directory)
    runs = by_name(client)
    assert len(runs) == 10 + 5 + 2
    told = {event.trial: event for event in events if isinstance(event, Told)}
    for event in events:
        if isinstance(event, Asked):
            run, end = runs[event.trial], told.get(event.trial)
            assert run.data.params == {key: str(value) for key, value in event.params.items()}
            assert run.info.start_time == int(event.time * 1000)
            assert run.data.tags["tinytl.trial"] == event.trial
            assert run.data.tags["mlflow.parentRunId"] == runs[event.study].info.run_id
            assert run.info.status == (STATUS[end.state] if end else "SCHEDULED")
            if end:
                assert run.info.end_time == int(end.time * 1000)
                assert run.data.tags["tinytl.state"] == end.state
                assert run.data.tags["tinytl.reason"] == (end.reason or "")
                assert run.data.metrics["peak_bytes"] == end.metrics["peak_bytes"]
    history = client.get_metric_history(runs["a-4"].info.run_id, "val_accuracy")
    reports = [e for e in events if isinstance(e, Reported) and e.trial == "a-4"]
    assert [(m.step, m.value, m.timestamp) for m in history] == [
        (e.epoch, e.metrics["val_accuracy"], int(e.time * 1000)) for e in reports
    ], "one point an epoch; the final value repeats the last and is no point more"


def test_parent_run_carries_the_front(record):
    events = story("a", 10)
    mirror(record, events, limits={"peak_bytes": 30_000_000})
    parent = by_name(client_of(record.directory))["a"]
    best = front(points(events)["a"], OBJECTIVES)
    heights = [0.5, 0.51, 0.55, 0.56]  # trials 0, 1, 5, 6 are complete, and all on the front
    assert [point.values["val_accuracy"] for point in best] == pytest.approx(heights)
    area = sum(h * w for h, w in zip(heights, [2, 8, 2, 30 - 14], strict=True))
    metrics = parent.data.metrics
    assert metrics["hypervolume"] == pytest.approx(area)
    assert (metrics["front_size"], metrics["best.peak_bytes"]) == (4, 2_000_000)
    assert metrics["best.val_accuracy"] == pytest.approx(0.56)
    assert parent.info.status == "FINISHED"
    folder = record.directory / "mlartifacts" / "runs" / parent.info.run_id / "artifacts"
    files = {file.name: file for file in folder.iterdir()}
    assert set(files) == FRONT_FILES
    assert files["front.csv"].read_text() == front_csv(best, OBJECTIVES)
    assert files["sweep.yaml"].read_text() == "name: test\n"


@pytest.mark.parametrize("damage", ["removed", "old", "torn", "of another sweep"])
def test_uploading_again_changes_nothing(record, damage):
    mirror(record, story("a", 10))
    before = content(record.directory)
    cursor = record.directory / CURSOR_FILE
    saved = json.loads(cursor.read_text())
    assert saved["offset"] == (record.directory / "trials.jsonl").stat().st_size
    if damage == "removed":
        cursor.unlink()
    elif damage == "old":
        old = [offset for _, offset in read_events(record.directory)][22]
        cursor.write_text(json.dumps(saved | {"offset": old}))
    elif damage == "torn":
        cursor.write_text(cursor.read_text()[:20])
    else:
        cursor.write_text(json.dumps(saved | {"sweep": "another"}))
    mirror(record)
    assert content(record.directory) == before
    assert json.loads(cursor.read_text()) == saved


def test_resumed_sweep_goes_on_in_the_same_runs(record):
    events = story("a", 6, unfinished=[2])
    mirror(record, events)
    first = by_name(client_of(record.directory))
    assert first["a-2"].info.status == first["a"].info.status == "SCHEDULED"
    mirror(record, [Reported("a-2", 4, {"val_accuracy": 0.8}, time=BEGAN + 900)])
    assert by_name(client_of(record.directory))["a-2"].info.status == "SCHEDULED"
    end = Told("a-2", "complete", {"val_accuracy": 0.8, "peak_bytes": 1}, time=BEGAN + 901)
    mirror(record, [end])
    second = by_name(client_of(record.directory))
    assert {n: r.info.run_id for n, r in first.items()} == {
        n: r.info.run_id for n, r in second.items()
    }
    assert second["a-2"].info.status == second["a"].info.status == "FINISHED"
    assert second["a"].info.end_time == int(end.time * 1000)
    assert second["a"].data.metrics["best.peak_bytes"] == 1


def test_two_sweeps_share_a_store(tmp_path, record):
    mirror(record, story("a", 3))
    other = SweepRecord.create(tmp_path / "other", "name: other\n")
    uri = f"sqlite:///{record.directory}/{STORE_FILE}"
    mirror(other, story("a", 4), sweep="sweep-2", uri=uri)
    other.close()
    tags = [run.data.tags for run in runs_of(client_of(record.directory))]
    assert Counter(tag["tinytl.sweep"] for tag in tags) == {"sweep-1": 4, "sweep-2": 5}


def test_events_are_mirrored_while_the_sweep_runs(record):
    tracker = tracker_of(record.directory)
    tracker.start()
    for index, event in enumerate(story("a", 3)):
        record.append(event)
        tracker.notify()
        if index in (0, 2, 4, 9):
            wait_for(lambda: caught_up(record.directory), tracker)
    runs = by_name(client_of(record.directory))
    assert runs["a"].info.status == "RUNNING"
    assert runs["a-0"].info.status == "FINISHED"
    assert tracker.close(60)
    assert tracker.problem is None


def test_hostile_text_is_mirrored_as_text(record):
    params = {HOSTILE: HOSTILE, "method": HOSTILE * 200, "none": None, "..": [1, 2]}
    trial = f"{HOSTILE}-0"
    mirror(
        record,
        [
            Asked(trial, HOSTILE, 0, params, time=BEGAN),
            Reported(trial, 1, {"a/../b\n'": 1.0, "nan": float("nan")}, time=BEGAN + 1),
            Told(
                trial, "complete", {"val_accuracy": 0.5, "peak_bytes": 5}, HOSTILE, time=BEGAN + 2
            ),
        ],
        sweep=HOSTILE,
        experiment="test",
    )
    mirror(record, sweep=HOSTILE)
    runs = runs_of(client_of(record.directory))
    assert len(runs) == 2
    child = next(run for run in runs if "tinytl.trial" in run.data.tags)
    assert "DROP TABLE" in child.data.tags["tinytl.trial"]
    assert len(child.data.params["method"]) == 6000
    assert child.data.params["method"].endswith("…")
    assert child.data.params["none"] == "None"
    assert set(child.data.metrics) >= {"val_accuracy", "peak_bytes", "nan"}
    assert not (record.directory.parent / "etc").exists()


def test_store_out_of_reach_never_raises_and_says_so(record, monkeypatch):
    monkeypatch.setattr(background, "_FIRST_RETRY_SECONDS", 0.05)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
        tracker = tracker_of(record.directory, uri=f"http://me:secret@{address}")
        tracker.start()
        for event in story("a", 3):
            record.append(event)
            tracker.notify()
        wait_for(lambda: tracker.problem, tracker)
        assert not tracker.close(0.5)
    assert address in tracker.problem
    assert "--resume" in tracker.problem
    assert "secret" not in tracker.store_uri
    assert Cursor.read(record.directory) is None
    mirror(record)
    assert len(by_name(client_of(record.directory))) == 4


ALONE = """
import sys, time
from pathlib import Path
import mlflow
sys.path.insert(0, {root!r})
from orchestrator.tracking import Tracker
from orchestrator.tracking import mirror
mirror._EVENTS_PER_UPLOAD = 40
directory = Path({directory!r})
(directory / "ready").touch()
while not Path({go!r}).exists():
    time.sleep(0.001)
tracker = Tracker(directory, sweep=directory.name, experiment="test",
                  objectives={objectives!r}, limits={{}}, uri={uri!r})
tracker.start()
if not tracker.close(300):
    sys.exit(tracker.problem)
"""


@pytest.mark.integration
def test_killed_in_the_midst_of_a_batch_nothing_is_lost_or_doubled(record):
    for event in story("a", 60):
        record.append(event)
    process = alone(record.directory, go=record.directory)
    try:
        wait_for(lambda: count_runs(record.directory) >= 20 or process.poll() is not None)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == -signal.SIGKILL, "killed before it was done"
    assert 20 <= count_runs(record.directory) < 61
    assert Cursor.read(record.directory).offset > 0
    mirror(record, sweep=record.directory.name)
    assert len(by_name(client_of(record.directory))) == 61
    found = content(record.directory)
    assert Counter(row[2] for row in found["runs"]) == {"FINISHED": 25, "KILLED": 12, "FAILED": 24}
    for key, expected in (("train_loss", 3 * 60), ("val_accuracy", 3 * 60), ("peak_bytes", 60)):
        assert sum(row[1] == key for row in found["metrics"]) == expected


@pytest.mark.integration
def test_server_that_comes_late_and_dies_gets_everything_once(
    record, tmp_path, empty_store, monkeypatch
):
    monkeypatch.setattr(background, "_LAST_RETRY_SECONDS", 1.0)
    place = tmp_path / "served"
    place.mkdir()
    copy_store(empty_store, place)
    port = free_port()
    tracker = tracker_of(record.directory, uri=f"http://127.0.0.1:{port}")
    tracker.start()
    events = story("a", 30)
    for event in events[:12]:
        record.append(event)
        tracker.notify()
    wait_for(lambda: tracker.problem, tracker)
    with served(place, port):
        for event in events[12:-12]:
            record.append(event)
        tracker.notify()
        # killed with requests under way, whose answers nobody hears
        wait_for(lambda: count_runs(place) >= 10, tracker)
    assert count_runs(place) < 31
    for event in events[-12:]:
        record.append(event)
        tracker.notify()
    wait_for(lambda: tracker.problem, tracker)
    with served(place, port) as uri:
        assert tracker.close(60), tracker.problem
        assert tracker.problem is None
        runs = by_name(client_of(uri))
        assert len(runs) == 31
        assert Counter(run.info.status for run in runs.values()) == {
            "FINISHED": 13, "KILLED": 6, "FAILED": 12,
        }  # fmt: skip
        names = {file.path for file in client_of(uri).list_artifacts(runs["a"].info.run_id)}
        assert names == FRONT_FILES
    metrics = content(place)["metrics"]
    assert sum(row[1] == "train_loss" for row in metrics) == 3 * 30
    assert Cursor.read(record.directory).store == uri


@pytest.mark.integration
def test_sweeps_that_start_at_once_share_a_store_that_one_of_them_creates(tmp_path):
    directories = [tmp_path / f"sweep-{number}" for number in range(4)]
    for number, directory in enumerate(directories):
        other = SweepRecord.create(directory, "name: x\n")
        for event in story("a", 5 + number):
            other.append(event)
        other.close()
    uri, go = f"sqlite:///{tmp_path}/{STORE_FILE}", tmp_path / "go"
    # what is left of a process that was killed while it created the store
    half = tmp_path / f"{STORE_FILE}.partial"
    with closing(sqlite3.connect(half)) as database:
        database.execute("CREATE TABLE _alembic_tmp_latest_metrics (key INTEGER)")
    writers = [alone(directory, go, uri) for directory in directories]
    wait_for(lambda: all((directory / "ready").exists() for directory in directories), seconds=120)
    go.touch()
    assert [writer.wait(300) for writer in writers] == [0] * 4
    runs = runs_of(client_of(tmp_path))
    assert Counter(run.data.tags["tinytl.sweep"] for run in runs) == {
        f"sweep-{number}": 6 + number for number in range(4)
    }
    assert len({tuple(sorted(identity(run))) for run in runs}) == len(runs), "no run twice"


def identity(run):
    keys = ("tinytl.sweep", "tinytl.study", "tinytl.trial")
    return [(key, run.data.tags.get(key)) for key in keys]


def alone(directory, go, uri=None):
    """A process that does nothing but upload what is recorded of a sweep, once it may."""
    script = ALONE.format(
        root=str(Path.cwd()), directory=str(directory), objectives=OBJECTIVES, go=str(go), uri=uri
    )
    return subprocess.Popen([sys.executable, "-c", script])


def count_runs(directory):
    with closing(sqlite3.connect(directory / STORE_FILE)) as database:
        return database.execute("SELECT count(*) FROM runs").fetchone()[0]
