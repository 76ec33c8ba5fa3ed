import socket

import pytest

from orchestrator.record import Asked, SweepRecord, Told
from orchestrator.tracking import Tracker

LOOPBACK = "127.0.0.1"


@pytest.fixture
def free():
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return probe.getsockname()[1]


@pytest.fixture
def taken():
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        listener.listen()
        yield listener.getsockname()[1]


@pytest.fixture(scope="session")
def tracked():
    """Makes a sweep with trials of these numbers, or goes on with one, and tracks it."""

    def run(directory, numbers):
        if directory.exists():
            record = SweepRecord.resume(directory)
        else:
            record = SweepRecord.create(directory, "name: test\n")
        tracker = Tracker(
            directory,
            sweep="s",
            experiment="test",
            objectives={"val_accuracy": "max", "peak_bytes": "min"},
            limits={},
        )
        tracker.start()
        for number in numbers:
            trial, values = f"digits-{number}", {"val_accuracy": 0.5, "peak_bytes": 10**7 - number}
            record.append(Asked(trial, "digits", number, {"method": "last"}))
            record.append(Told(trial, "complete", values))
        assert tracker.close(120), tracker.problem
        record.close()
        return directory

    return run
