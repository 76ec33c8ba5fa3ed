import threading
import time

import pytest

from orchestrator.tracking import background
from orchestrator.tracking.background import Worker


@pytest.fixture(autouse=True)
def short_delays(monkeypatch):
    monkeypatch.setattr(background, "_FIRST_RETRY_SECONDS", 0.01)


class Job:
    """Fails as often as told; knows its calls and the errors that were heard of."""

    def __init__(self, failures=0, pause=None):
        self.failures = failures
        self.pause = pause
        self.calls = []
        self.errors = []
        self.worker = Worker(self, self.errors.append, "job")

    def __call__(self, last):
        self.calls.append(last)
        if len(self.calls) <= self.failures:
            raise OSError(f"failure {len(self.calls)}")
        return self.pause


def until(condition):
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_runs_at_once_when_woken_and_a_last_time():
    job = Job()
    job.worker.start()
    until(lambda: len(job.calls) == 1)
    job.worker.wake()
    until(lambda: len(job.calls) == 2)
    assert job.worker.close(5)
    assert job.calls == [False, False, True]
    assert job.errors == [None, None, None]


def test_runs_again_by_itself_when_it_asks_for_it():
    job = Job(pause=0.01)
    job.worker.start()
    until(lambda: len(job.calls) >= 3)
    assert job.worker.close(5)


def test_failures_are_heard_of_and_tried_again():
    job = Job(failures=3)
    job.worker.start()
    until(lambda: len(job.calls) == 4)
    assert [str(error) for error in job.errors[:3]] == ["failure 1", "failure 2", "failure 3"]
    until(lambda: job.errors[-1] is None)
    assert job.worker.close(5)


def test_close_cuts_a_long_delay_short(monkeypatch):
    monkeypatch.setattr(background, "_FIRST_RETRY_SECONDS", 30.0)
    job = Job(failures=1)
    job.worker.start()
    until(lambda: job.errors)
    began = time.monotonic()
    assert job.worker.close(20)
    assert time.monotonic() - began < 5
    assert job.calls == [False, True]


def test_close_gives_up_at_its_timeout():
    job = Job(failures=10_000)
    job.worker.start()
    began = time.monotonic()
    assert not job.worker.close(0.3)
    assert time.monotonic() - began < 3


def test_a_job_that_hangs_does_not_hold_up_close():
    release = threading.Event()
    worker = Worker(lambda last: release.wait(30) and None, lambda error: None, "hanging")
    worker.start()
    assert not worker.close(0.1)
    release.set()
