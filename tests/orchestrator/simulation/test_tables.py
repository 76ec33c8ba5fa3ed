"""A sweep's record becomes a table, and a table is read back as it was."""

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.record import Asked, Reported, SweepRecord, Told
from orchestrator.simulation.tables import SUFFIXES, Row, read_table, write_table
from tinytl.errors import ConfigError

PARAMS = {"method": "last", "crop_scale": None, "learning_rate": 1e-3}


def reported(epoch: int) -> dict[str, float]:
    return {"val_accuracy": epoch / 10, "epoch_seconds": 2.0 + epoch, "peak_bytes": 120}


ENDS = [
    ("complete", 2, {"peak_bytes": 120, "val_accuracy": 0.2}, 120),
    ("stopped", 1, {"peak_bytes": 120, "val_accuracy": 0.1}, 120),
    ("infeasible", 0, {"peak_bytes": 100}, 100),
    ("failed", 1, {}, 100),  # as it was predicted
]


@pytest.mark.parametrize(("state", "epochs", "metrics", "peak_bytes"), ENDS)
def test_rows_of_a_sweep(state: str, epochs: int, metrics: dict, peak_bytes: int,
                         tmp_path: Path) -> None:  # fmt: skip
    record = SweepRecord.create(tmp_path, "name: recorded")
    record.append(Asked("digits-0000", "digits", 0, PARAMS, 100))
    for epoch in range(1, epochs + 1):
        record.append(Reported("digits-0000", epoch, reported(epoch)))
    record.append(Told("digits-0000", state, metrics))
    record.append(Asked("digits-0001", "digits", 1, PARAMS, 100))  # runs
    confirming = "digits-0000-seed-1"
    record.append(Asked(confirming, "digits", 0, {**PARAMS, "seed": 1}, 100, "digits-0000"))
    record.append(Reported(confirming, 1, reported(1)))
    record.append(Told(confirming, "stopped", {}))
    record.close()
    accuracy, seconds = (0.1, 0.2)[:epochs], (3.0, 4.0)[:epochs]
    assert read_table(tmp_path) == [Row("digits", PARAMS, state, peak_bytes, accuracy, seconds)]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_table_is_read_back(suffix: str, rows: list[Row], tmp_path: Path) -> None:
    rows = [*rows, replace(rows[0], params=PARAMS, peak_bytes=None, accuracy=(), seconds=())]
    write_table(tmp_path / f"table{suffix}", rows)
    assert read_table(tmp_path / f"table{suffix}") == rows


def test_other_formats_are_refused(rows: list[Row], tmp_path: Path) -> None:
    (tmp_path / "table.csv").touch()
    with pytest.raises(ConfigError, match=r"--table: .* must end in \.jsonl or \.parquet"):
        write_table(tmp_path / "table.csv", rows)
    with pytest.raises(ConfigError, match=r"--from: .* must end in \.jsonl or \.parquet"):
        read_table(tmp_path / "table.csv")
    (tmp_path / "table.parquet").write_text("{}")
    with pytest.raises(ConfigError, match=r"is no Parquet file"):
        read_table(tmp_path / "table.parquet")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "must be the directory of a sweep or a table"),
        ("{}\n", "line 1 is no row of a table"),
        ('{"study": "digits"', "line 1 is no row of a table"),
        ("[]\n", "line 1 is no row of a table"),
    ],
)
def test_what_is_no_table(content: str | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "table.jsonl"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=message):
        read_table(path)
