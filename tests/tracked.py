"""Sweeps that never ran, mirrored into MLflow, and what is in the store then."""

import contextlib
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from contextlib import closing, contextmanager

from orchestrator.record import Asked, Reported, Told
from orchestrator.tracking.mirror import Cursor
from orchestrator.tracking.tracker import MLFLOW_SETTINGS, STORE_FILE, Tracker

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


def caught_up(directory):
    cursor = Cursor.read(directory)
    return cursor and cursor.offset == (directory / "trials.jsonl").stat().st_size


def wait_for(condition, tracker=None, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, tracker and tracker.problem
        time.sleep(0.005)


def free_port():
    """Of any port, as other tests serve at the same time."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def served(directory, port):
    """An MLflow server as anybody runs it; killed at the end, with no time to say goodbye."""
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--port", str(port)]
    command += ["--backend-store-uri", f"sqlite:///{directory}/{STORE_FILE}"]
    command += ["--artifacts-destination", str(directory / "artifacts")]
    env = os.environ | MLFLOW_SETTINGS | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server = subprocess.Popen(command, env=env, start_new_session=True, **quiet)
    try:
        wait_for(lambda: answers(f"http://127.0.0.1:{port}/health"), seconds=120)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def answers(url):
    with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):
        return True
    return False
