"""What a sweep depended on is in its directory, for each process that ran it."""

import json
from dataclasses import asdict, replace

import pytest

from orchestrator.record import Asked, SweepRecord
from orchestrator.record.environment import (
    ENVIRONMENTS_FILE,
    Environment,
    Input,
    note_environment,
    read_environments,
)
from tinytl.errors import StorageError

WEIGHTS = Input(
    "weights", "x.pth", "ab" * 32, "https://host/x.pth", {"bytes": 5},
    {"backbone": "x", "weights": "imagenet", "norm": None},
)  # fmt: skip
FIRST = Environment(
    directory="/run", data=None, weights="/w", system="Linux", device="a cpu",
    versions={"python": "3.11"}, commit="c0ffee", dirty=False, inputs=(WEIGHTS,),
)  # fmt: skip
SECOND = replace(FIRST, device="another cpu")


@pytest.fixture
def record(tmp_path):
    record = SweepRecord.create(tmp_path / "run", "name: x\n")
    yield record
    record.close()


def test_each_environment_begins_behind_the_events_of_the_last(record) -> None:
    directory = record.directory
    assert read_environments(directory) == []
    offsets = []
    for environment in (FIRST, FIRST, SECOND, FIRST):
        note_environment(directory, environment)
        offsets.append((directory / "trials.jsonl").stat().st_size)
        record.append(Asked("a-0", "a", 0, {}))
    assert read_environments(directory) == [
        replace(FIRST, offset=0),  # resumed where it ran: no second entry
        replace(SECOND, offset=offsets[2]),
        replace(FIRST, offset=offsets[3]),
    ]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"backbone": "x", "weights": "imagenet", "lr": 1}, True),
        ({"backbone": "x", "weights": "imagenet", "norm": None}, True),
        ({"backbone": "x", "weights": "imagenet", "norm": "gn_ws"}, False),
        ({"backbone": "y", "weights": "imagenet"}, False),
        ({}, False),
    ],
)
def test_an_input_belongs_to_trials_with_its_settings(settings, expected) -> None:
    assert WEIGHTS.is_of(settings) == expected


LACKING = {key: value for key, value in asdict(FIRST).items() if key != "device"}


@pytest.mark.parametrize("content", ["{", "5", "[5]", "[{}]", json.dumps([LACKING])])
def test_a_damaged_file_is_one_clear_sentence(record, content) -> None:
    (record.directory / ENVIRONMENTS_FILE).write_text(content)
    with pytest.raises(StorageError, match=r"is damaged.*remove it"):
        read_environments(record.directory)
