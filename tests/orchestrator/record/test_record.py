"""The sweep's directory survives what machines do to it."""

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchestrator.record import (
    EVENTS_FILE,
    Asked,
    Reported,
    SweepRecord,
    Told,
    decode,
    encode,
    read_events,
)
from tinytl.errors import ConfigError, StorageError

EVENTS = [
    Asked("digits-0000", "digits", 0, {"method": "last", "learning_rate": 1e-3}, 12345, time=1.5),
    Reported("digits-0000", 1, {"val_accuracy": 0.5}, time=2.5),
    Told("digits-0000", "complete", {"val_accuracy": 0.5}, time=3.5),
    Asked("digits-0000-seed-1", "digits", 0, {"seed": 1}, confirms="digits-0000", time=3.75),
    Told("ü\n", "failed", {}, 'a "reason"\nwith <lines>', time=4.5),
]


@pytest.mark.parametrize("event", EVENTS)
def test_events_round_trip_as_one_line(event) -> None:
    line = encode(event)
    assert "\n" not in line
    assert decode(line) == event


def test_an_older_record_is_read() -> None:
    line = '{"kind":"asked","trial":"a-0","study":"a","number":0,"params":{},"time":1.0}'
    assert decode(line) == Asked("a-0", "a", 0, {}, time=1.0)


@pytest.mark.parametrize("line", ["", "3", "{}", '{"kind":"other"}', '{"kind":"told","x":1}', "{"])
def test_what_is_no_event_is_refused(line: str) -> None:
    with pytest.raises(ValueError):
        decode(line)


def filled(directory: Path) -> Path:
    record = SweepRecord.create(directory, "name: x\n")
    for event in EVENTS:
        record.append(event)
    record.close()
    return directory


def test_a_resumed_record_has_all_events(tmp_path: Path) -> None:
    record = SweepRecord.resume(filled(tmp_path / "run"))
    assert record.events() == EVENTS
    record.close()


@pytest.mark.parametrize("cut", [1, 5, 40])
def test_a_torn_last_line_is_dropped_and_writing_goes_on(tmp_path: Path, cut: int) -> None:
    directory = filled(tmp_path / "run")
    path = directory / EVENTS_FILE
    os.truncate(path, path.stat().st_size - cut)
    record = SweepRecord.resume(directory)
    assert record.events() == EVENTS[:-1]
    record.append(EVENTS[-1])
    assert record.events() == EVENTS
    record.close()


def test_a_damaged_line_in_the_middle_is_named(tmp_path: Path) -> None:
    path = filled(tmp_path / "run") / EVENTS_FILE
    text = path.read_text()
    path.write_text(text.replace('"kind":"reported"', '"kind:"reported"'))
    with pytest.raises(StorageError, match=r"trials\.jsonl is damaged at byte \d+"):
        SweepRecord.resume(tmp_path / "run")


def test_reading_goes_on_from_an_offset(tmp_path: Path) -> None:
    directory = filled(tmp_path / "run")
    offsets = [offset for _, offset in read_events(directory)]
    for index, offset in enumerate(offsets):
        rest = [event for event, _ in read_events(directory, offset)]
        assert rest == EVENTS[index + 1 :]


def test_an_existing_sweep_is_not_overwritten(tmp_path: Path) -> None:
    filled(tmp_path / "run")
    with pytest.raises(ConfigError, match="continue it with --resume"):
        SweepRecord.create(tmp_path / "run", "name: y\n")
    assert (tmp_path / "run" / "sweep.yaml").read_text() == "name: x\n"


def test_a_directory_without_a_sweep_is_not_resumed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="start it without --resume"):
        SweepRecord.resume(tmp_path)


def test_only_one_process_writes(tmp_path: Path) -> None:
    record = SweepRecord.create(tmp_path / "run", "name: x\n")
    with pytest.raises(ConfigError, match="in use by another running sweep"):
        SweepRecord.resume(tmp_path / "run")
    record.close()
    SweepRecord.resume(tmp_path / "run").close()


WRITER = """
import sys
from pathlib import Path
from orchestrator.record import Reported, SweepRecord
record = SweepRecord.create(Path(sys.argv[1]), "name: x\\n")
print("ready", flush=True)
epoch = 0
while True:
    epoch += 1
    record.append(Reported("a", epoch, {"value": 1.0}))
"""


def test_a_killed_writer_leaves_whole_events_and_no_lock(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path / "run")], stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        while not (tmp_path / "run" / EVENTS_FILE).stat().st_size > 1000:
            time.sleep(0.01)
        writer.send_signal(signal.SIGKILL)
    record = SweepRecord.resume(tmp_path / "run")
    epochs = [event.epoch for event in record.events() if isinstance(event, Reported)]
    assert epochs == list(range(1, len(epochs) + 1))
    record.close()


def test_a_full_disk_is_said_and_nothing_written_before_is_lost(tmp_path: Path) -> None:
    """The kernel refuses to let the file grow, as it does on a full disk."""
    directory = filled(tmp_path / "run")
    record = SweepRecord.resume(directory)
    size = (directory / EVENTS_FILE).stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, hard))
    try:
        with pytest.raises(StorageError, match="free some space"):
            record.append(EVENTS[0])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    assert record.events() == EVENTS
    record.append(EVENTS[0])
    assert record.events() == [*EVENTS, EVENTS[0]]
    record.close()
