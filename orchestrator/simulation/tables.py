"""Recorded trials: what a simulation replays."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from orchestrator.record import SWEEP_FILE, Asked, Event, Reported, State, Told, read_events
from tinytl.errors import ConfigError
from tinytl.storage import write_atomically

JSON_LINES = ".jsonl"
SUFFIXES = (JSON_LINES, ".parquet")


@dataclass(frozen=True)
class Row:
    """A trial that has ended.

    Attributes:
        study: The dataset.
        params: Flat parameters.
        state: How it ended.
        peak_bytes: Measured, or predicted where it was not run; None where neither is known.
        accuracy: `val_accuracy` after each epoch.
        seconds: How long each epoch trained; evaluation is not in it.
    """

    study: str
    params: dict[str, Any]
    state: State
    peak_bytes: int | None
    accuracy: tuple[float, ...]
    seconds: tuple[float, ...]


def read_table(path: Path) -> list[Row]:
    """Reads the directory of a sweep, or a table that `write_table` wrote.

    Raises:
        ConfigError: If it is neither.
        StorageError: If the sweep's record is damaged.
    """
    if (path / SWEEP_FILE).exists():
        return rows_of(event for event, _ in read_events(path))
    if not path.is_file():
        raise ConfigError(
            f"--from: must be the directory of a sweep or a table ({', '.join(SUFFIXES)}), but got "
            f"{path}"
        )
    _check_suffix("--from", path)
    rows = []
    for number, values in enumerate(_stored(path), start=1):
        try:
            rows.append(_decoded(values))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ConfigError(
                f"--from: {path}, line {number} is no row of a table ({error}); write the table "
                "anew, or give a sweep's directory"
            ) from None
    return rows


def write_table(path: Path, rows: Sequence[Row]) -> None:
    """Writes a row a line as JSON (.jsonl), or the same as Parquet, with params as JSON.

    Raises:
        ConfigError: If the file's name ends in neither.
        StorageError: If the file cannot be written.
    """
    _check_suffix("--table", path)
    if path.suffix == JSON_LINES:
        write_atomically(path, "".join(json.dumps(asdict(row)) + "\n" for row in rows))
        return
    from pyarrow import BufferOutputStream, Table, parquet  # slow to import

    content = BufferOutputStream()
    columns = [asdict(row) | {"params": json.dumps(row.params)} for row in rows]
    parquet.write_table(Table.from_pylist(columns), content)
    write_atomically(path, content.getvalue().to_pybytes())


def _check_suffix(option: str, path: Path) -> None:
    if path.suffix not in SUFFIXES:
        raise ConfigError(
            f"{option}: the name of a table must end in {' or '.join(SUFFIXES)}, but got {path}"
        )


def _stored(path: Path) -> Iterator[Any]:
    """Yields the rows as they are stored."""
    if path.suffix == JSON_LINES:
        yield from path.read_text(encoding="utf-8").splitlines()
        return
    from pyarrow import ArrowException, parquet  # slow to import

    try:
        yield from parquet.read_table(path).to_pylist()
    except (ArrowException, OSError) as error:
        raise ConfigError(f"--from: {path} is no Parquet file ({error})") from None


def _decoded(stored: Any) -> Row:
    values = json.loads(stored) if isinstance(stored, str) else dict(stored)
    if isinstance(values["params"], str):
        values["params"] = json.loads(values["params"])
    return Row(**values | {name: tuple(values[name]) for name in ("accuracy", "seconds")})


def rows_of(events: Iterable[Event]) -> list[Row]:
    """Returns a row for each trial that has ended, in the order in which they were told.

    Those that confirmed others are left out: no search asked for them.
    """
    asked: dict[str, Asked] = {}
    reports: dict[str, list[Reported]] = {}
    rows = []
    for event in events:
        if isinstance(event, Asked):
            if event.confirms is None:
                asked[event.trial], reports[event.trial] = event, []
        elif event.trial not in asked:
            continue
        elif isinstance(event, Reported):
            reports[event.trial].append(event)
        else:
            rows.append(_row(asked[event.trial], reports[event.trial], event))
    return rows


def _row(asked: Asked, reports: Sequence[Reported], told: Told) -> Row:
    peak_bytes = told.metrics.get("peak_bytes", asked.predicted_bytes)
    useful = [report for report in reports if "val_accuracy" in report.metrics]
    return Row(
        study=asked.study,
        params=asked.params,
        state=told.state,
        peak_bytes=None if peak_bytes is None else int(peak_bytes),
        accuracy=tuple(round(report.metrics["val_accuracy"], 6) for report in useful),
        seconds=tuple(round(report.metrics["epoch_seconds"], 4) for report in useful),
    )
