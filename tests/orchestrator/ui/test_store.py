"""What the page is told of an MLflow database, also of runs that are not a sweep's."""

from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.pool import StaticPool

from orchestrator.ui.store import Trials

TABLES = {
    "runs": "run_uuid, name, status, start_time, end_time, experiment_id, lifecycle_stage",
    "tags": "run_uuid, key, value",
    "params": "run_uuid, key, value",
    "latest_metrics": "run_uuid, key, value, is_nan, timestamp",
}
PLACE = [("tinytl.sweep", "s"), ("tinytl.study", "digits")]
ROWS: dict[str, list[tuple[Any, ...]]] = {
    "runs": [
        ("trial-b", "b", "RUNNING", 30, None, 1, "active"),
        ("trial-a", "a", "FINISHED", 20, 25, 1, "active"),
        ("study", "digits", "RUNNING", 10, None, 1, "active"),
        ("foreign", None, "RUNNING", None, None, 1, "active"),
        ("gone", "gone", "FINISHED", 5, 6, 1, "deleted"),
        ("elsewhere", "elsewhere", "FINISHED", 5, 6, 2, "active"),
    ],
    "tags": [
        *(("study", *tag) for tag in [*PLACE, ("tinytl.directory", "/runs/x")]),
        *(
            ("trial-a", *tag)
            for tag in [*PLACE, ("tinytl.trial", "a"), ("tinytl.state", "stopped")]
        ),
        *(("trial-b", *tag) for tag in [*PLACE, ("tinytl.trial", "b"), ("note", "n" * 9000)]),
        *(("gone", *tag) for tag in [*PLACE, ("tinytl.trial", "gone")]),
        *(("elsewhere", *tag) for tag in [*PLACE, ("tinytl.trial", "elsewhere")]),
    ],
    "params": [("trial-b", "method", "last"), ("foreign", "method", "x")],
    "latest_metrics": [
        ("trial-a", "val_accuracy", 0.5, False, 21),
        ("trial-b", "val_accuracy", 0.0, True, 31),
    ],
}


@pytest.fixture
def engine() -> Engine:
    found = create_engine("sqlite://", poolclass=StaticPool)
    with found.begin() as connection:
        for table, columns in TABLES.items():
            connection.execute(text(f"CREATE TABLE {table} ({columns})"))
            for row in ROWS[table]:
                add(connection, table, row)
    return found


def add(connection: Any, table: str, row: tuple[Any, ...]) -> None:
    names = TABLES[table].split(", ")
    places = ", ".join(f":{name}" for name in names)
    values = dict(zip(names, row, strict=True))
    connection.execute(text(f"INSERT INTO {table} VALUES ({places})"), values)


def test_trials_come_in_columns_in_the_order_in_which_they_began(engine: Engine) -> None:
    found = Trials(engine).read(1)
    (study,) = found["studies"]
    assert (study["name"], study["run"], study["directory"]) == ("digits", "study", "/runs/x")
    trials = found["trials"]
    assert trials["name"] == ["a", "b"]
    assert trials["study"] == [0, 0]
    assert trials["state"] == ["stopped", "running"]
    assert trials["params"] == {"method": [None, "last"]}
    assert trials["metrics"] == {"val_accuracy": [0.5, None]}
    assert list(trials["tags"]) == ["note"]
    assert trials["tags"]["note"][0] is None
    assert len(trials["tags"]["note"][1]) < 9000


CHANGES = [
    ("runs", ("trial-c", "c", "RUNNING", 40, None, 1, "active"), True),
    ("latest_metrics", ("trial-b", "peak_bytes", 1.0, False, 32), True),
    ("tags", ("trial-b", "pareto", "front"), True),
    ("runs", ("other", "other", "RUNNING", 40, None, 2, "active"), False),
]


@pytest.mark.parametrize(("table", "row", "changes"), CHANGES)
def test_the_version_follows_the_experiment(
    engine: Engine, table: str, row: tuple[Any, ...], changes: bool
) -> None:
    before = Trials(engine).version(1)
    with engine.begin() as connection:
        add(connection, table, row)
    assert (Trials(engine).version(1) != before) == changes
