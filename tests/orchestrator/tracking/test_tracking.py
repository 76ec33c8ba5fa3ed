import json
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from orchestrator.fronts.pareto import front, front_csv, front_markdown, points
from orchestrator.record import Asked, Reported, SweepRecord, Told, read_events
from orchestrator.tracking import background
from orchestrator.tracking.mirror import CURSOR_FILE, Cursor
from orchestrator.tracking.tracker import STORE_FILE, Tracker

OBJECTIVES = {"val_accuracy": "max", "peak_bytes": "min"}
STATES = ["complete", "complete", "stopped", "infeasible", "failed"]
STATUS = {"complete": "FINISHED", "stopped": "KILLED", "infeasible": "FAILED", "failed": "FAILED"}
HOSTILE = "'\"; DROP TABLE runs;-- </script><img src=x> \\ % _ | \n\t\0 \ud800 é☃🙂 ../../etc"
BEGAN = 1_700_000_000.0


def story(study, number, unfinished=()):
    """The events of a study: three epochs a trial, ends of all kinds."""
    events = []
    for index in range(number):
        trial, at = f"{study}-{index}", BEGAN + 100 * index
        params = {"method": ["last", "full"][index % 2], "resolution": 96, "learning_rate": 3e-4}
        events.append(Asked(trial, study, index, params, 1_000_000 + index, time=at))
        accuracy = 0.5 + index / 100
        for epoch in (1, 2, 3):
            metrics = {"val_accuracy": accuracy * epoch / 3, "train_loss": 1 / epoch}
            events.append(Reported(trial, epoch, metrics, time=at + epoch))
        if index not in unfinished:
            state = STATES[index % len(STATES)]
            reason = None if state == "complete" else f"it was {state}"
            final = {"val_accuracy": accuracy * 3 / 3, "peak_bytes": 2_000_000 * (index + 1)}
            events.append(Told(trial, state, final, reason, time=at + 10))
    return events


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory):
    """A store without runs; to create one takes seconds, to copy one does not."""
    directory = tmp_path_factory.mktemp("empty")
    tracker = tracker_of(directory)
    tracker.start()
    assert tracker.close(60), tracker.problem
    return directory / STORE_FILE


@pytest.fixture
def record(tmp_path, empty_store):
    copy_store(empty_store, tmp_path)
    record = SweepRecord.create(tmp_path, "name: test\n")
    yield record
    record.close()


def copy_store(store, directory):
    with (
        closing(sqlite3.connect(store)) as old,
        closing(sqlite3.connect(directory / STORE_FILE)) as new,
    ):
        old.backup(new)


def tracker_of(directory, **changes):
    options = {"sweep": "sweep-1", "experiment": "test", "objectives": OBJECTIVES, "limits": {}}
    return Tracker(directory, **(options | changes))


def mirror(record, events=(), **changes):
    """Appends the events and uploads them all."""
    for event in events:
        record.append(event)
    tracker = tracker_of(record.directory, **changes)
    tracker.start()
    assert tracker.close(60), tracker.problem
    return tracker


def client_of(directory_or_uri):
    from mlflow import MlflowClient

    uri = str(directory_or_uri)
    return MlflowClient(uri if "://" in uri else f"sqlite:///{uri}/{STORE_FILE}")


def runs_of(client, experiment="test"):
    return client.search_runs([client.get_experiment_by_name(experiment).experiment_id])


def by_name(client):
    found = runs_of(client)
    runs = {run.info.run_name: run for run in found}
    assert len(runs) == len(found), "no run twice"
    return runs


def content(directory):
    """Everything in the store that a second upload could have doubled or changed."""
    with closing(sqlite3.connect(directory / STORE_FILE)) as database:
        return {
            table: sorted(database.execute(f"SELECT {columns} FROM {table}"))
            for table, columns in {
                "runs": "run_uuid, name, status, start_time, end_time",
                "metrics": "run_uuid, key, value, step, timestamp",
                "params": "run_uuid, key, value",
                "tags": "run_uuid, key, value",
            }.items()
        }


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
    assert parent.data.tags["mlflow.note.content"] == front_markdown(best, OBJECTIVES)
    assert parent.info.status == "FINISHED"
    folder = record.directory / "mlartifacts" / "runs" / parent.info.run_id / "artifacts"
    files = {file.name: file for file in folder.iterdir()}
    assert set(files) == {"front.html", "front.png", "front.csv", "sweep.yaml"}
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


KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, {root!r})
from orchestrator.tracking import Tracker
from orchestrator.tracking import mirror
mirror._EVENTS_PER_UPLOAD = 40
tracker = Tracker(Path({directory!r}), sweep="sweep-1", experiment="test",
                  objectives={objectives!r}, limits={{}})
tracker.start()
print(tracker.close(300), tracker.problem, flush=True)
"""


@pytest.mark.integration
def test_killed_in_the_midst_of_a_batch_nothing_is_lost_or_doubled(record):
    for event in story("a", 60):
        record.append(event)
    process = subprocess.Popen([sys.executable, "-c", script(record.directory)])
    try:
        wait_for(lambda: count_runs(record.directory) >= 20 or process.poll() is not None)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == -signal.SIGKILL, "killed before it was done"
    assert 20 <= count_runs(record.directory) < 61
    assert Cursor.read(record.directory).offset > 0
    mirror(record)
    assert len(by_name(client_of(record.directory))) == 61
    found = content(record.directory)
    assert Counter(row[2] for row in found["runs"]) == {"FINISHED": 25, "KILLED": 12, "FAILED": 24}
    for key, expected in (("train_loss", 3 * 60), ("val_accuracy", 3 * 60), ("peak_bytes", 60)):
        assert sum(row[1] == key for row in found["metrics"]) == expected


@pytest.mark.integration
def test_server_that_comes_late_gets_everything(record, tmp_path, empty_store, monkeypatch):
    from orchestrator.ui.server import serve

    with socket.socket() as probe:  # of any port, as other tests serve at the same time
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    uri = f"http://127.0.0.1:{port}"
    tracker = tracker_of(record.directory, uri=uri)
    tracker.start()
    events = story("a", 6)
    for event in events[:12]:
        record.append(event)
        tracker.notify()
    wait_for(lambda: tracker.problem, tracker)
    served = tmp_path / "served"
    served.mkdir()
    copy_store(empty_store, served)
    with serve(served, Cursor("any", None, 0, "1", {}), "127.0.0.1", port):
        for event in events[12:]:
            record.append(event)
            tracker.notify()
        assert tracker.close(60), tracker.problem
        assert tracker.problem is None
        runs = by_name(client_of(uri))
        assert len(runs) == 7
        assert runs["a-5"].info.status == "FINISHED"
        parent = runs["a"].info.run_id
        names = {file.path for file in client_of(uri).list_artifacts(parent)}
        assert names == {"front.html", "front.png", "front.csv", "sweep.yaml"}
        assert Cursor.read(record.directory).store == uri


def script(directory):
    return KILLED.format(directory=str(directory), objectives=OBJECTIVES, root=str(Path.cwd()))


def count_runs(directory):
    with closing(sqlite3.connect(directory / STORE_FILE)) as database:
        return database.execute("SELECT count(*) FROM runs").fetchone()[0]


def caught_up(directory):
    cursor = Cursor.read(directory)
    return cursor and cursor.offset == (directory / "trials.jsonl").stat().st_size


def wait_for(condition, tracker=None, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, tracker and tracker.problem
        time.sleep(0.005)
