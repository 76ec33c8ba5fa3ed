import pytest

from orchestrator.record import SweepRecord
from orchestrator.tracking.tracker import STORE_FILE
from tests.tracked import copy_store, tracker_of


@pytest.fixture(scope="session")
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
