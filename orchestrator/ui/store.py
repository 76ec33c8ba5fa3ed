"""The trials of an experiment, as the Pareto page reads them out of an MLflow store's database.

A search through MLflow's client makes an object for each run, which takes seconds for some
thousand runs; here each table is one statement.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any

from sqlalchemy import Engine

_SHOWN_CHARACTERS = 500  # of a param or tag: what is longer is for the run's own page
_PLACES = frozenset(f"tinytl.{name}" for name in ("sweep", "study", "trial", "state", "confirms"))
_RUNS = "SELECT run_uuid FROM runs WHERE experiment_id = {} AND lifecycle_stage = 'active'"
_STATES = (
    "SELECT status, COUNT(*), MAX(end_time) FROM runs WHERE run_uuid IN ({}) GROUP BY status",
    "SELECT COUNT(*), MAX(timestamp) FROM latest_metrics WHERE run_uuid IN ({})",
    "SELECT COUNT(*) FROM tags WHERE run_uuid IN ({})",
)


class Trials:
    """Reads an MLflow database.

    Args:
        engine: Of the database.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def version(self, experiment: int) -> str:
        """Returns what changes when a run of the experiment begins, reports, gets a tag or ends."""
        with self._cursor() as cursor:
            found = [_rows(cursor, state, experiment) for state in _STATES]
        return "-".join(str(value) for rows in found for row in sorted(rows) for value in row)

    @contextmanager
    def _cursor(self) -> Iterator[Any]:
        """Gives a cursor of the driver's own: SQLAlchemy's rows take four times as long."""
        with closing(self._engine.raw_connection()) as connection:
            yield connection.cursor()

    def read(self, experiment: int) -> dict[str, Any]:
        """Returns the experiment's studies, and its trials in columns.

        `studies` has a dictionary for each; `trials` has `run`, `name`, `study` (an index of
        `studies`), `state`, `confirms`, `began` (milliseconds since 1970) in lists with an entry
        for each trial, in the order in which they began, and `params`, `metrics` and `tags`, each
        with such a list for every name, None where a trial has none.
        """
        with self._cursor() as cursor:
            runs = _table(cursor, "runs", "run_uuid, name, status, start_time", experiment)
            tags = _by_run(_table(cursor, "tags", "run_uuid, key, value", experiment))
            params = _table(cursor, "params", "run_uuid, key, value", experiment)
            value = "CASE WHEN is_nan THEN NULL ELSE value END"
            metrics = _table(cursor, "latest_metrics", f"run_uuid, key, {value}", experiment)
        runs.sort(key=lambda run: (run[3] or 0, run[1] or ""))  # others' runs may lack both
        studies = _studies(runs, tags)
        index = {study["key"]: number for number, study in enumerate(studies)}
        trials = [run for run in runs if "tinytl.trial" in tags[run[0]]]
        places = {run[0]: place for place, run in enumerate(trials)}
        numbers = ((run, key, _finite(value)) for run, key, value in metrics)
        own = [tags[run[0]] for run in trials]
        return {
            "studies": studies,
            "trials": {
                "run": [run[0] for run in trials],
                "name": [each["tinytl.trial"] for each in own],
                "study": [index.get(_study_key(each)) for each in own],
                "state": [
                    each.get("tinytl.state", run[2].lower())
                    for run, each in zip(trials, own, strict=True)
                ],
                "confirms": [each.get("tinytl.confirms") for each in own],
                "began": [run[3] for run in trials],
                "params": _columns(places, params),
                "metrics": _columns(places, numbers),
                "tags": _columns(places, _free_tags(trials, tags)),
            },
        }


def _table(cursor: Any, table: str, columns: str, experiment: int) -> list[tuple[Any, ...]]:
    select = f"SELECT {columns} FROM {table} WHERE run_uuid IN ({{}})"  # noqa: S608  (our own names)
    return _rows(cursor, select, experiment)


def _rows(cursor: Any, statement: str, experiment: int) -> list[tuple[Any, ...]]:
    """Returns what the statement finds of the runs of an experiment."""
    # `:d` lets nothing in but a number, and names a parameter as every driver does: not at all
    cursor.execute(statement.format(_RUNS.format(f"{experiment:d}")))
    return list(cursor.fetchall())


def _by_run(rows: Sequence[tuple[Any, ...]]) -> Mapping[str, dict[str, str]]:
    found: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for run, key, value in rows:
        found[run][key] = value or ""
    return found


def _study_key(tags: Mapping[str, str]) -> str:
    return f"{tags.get('tinytl.sweep', '')}/{tags.get('tinytl.study', '')}"


def _studies(
    runs: Sequence[tuple[Any, ...]], tags: Mapping[str, dict[str, str]]
) -> list[dict[str, Any]]:
    """Returns the parent runs."""
    found = []
    for run, _, status, began in runs:
        own = tags[run]
        if "tinytl.study" in own and "tinytl.trial" not in own:
            found.append(
                {
                    "key": _study_key(own),
                    "run": run,
                    "name": own["tinytl.study"],
                    "status": status,
                    "began": began,
                    **{
                        name: own.get(f"tinytl.{name}")
                        for name in ("sweep", "directory", "objectives", "limits")
                    },
                }
            )
    return found


def _free_tags(
    trials: Sequence[tuple[Any, ...]], tags: Mapping[str, dict[str, str]]
) -> Iterator[tuple[str, str, str]]:
    """Yields the tags that say something about a trial, not where it belongs."""
    for run, *_ in trials:
        for key, value in tags[run].items():
            if not key.startswith("mlflow.") and key not in _PLACES:
                yield run, key, value


def _columns(places: Mapping[str, int], rows: Any) -> dict[str, list[Any]]:
    """Returns a list for each key, with an entry for each trial."""
    found: defaultdict[str, list[Any]] = defaultdict(lambda: [None] * len(places))
    for run, key, value in rows:
        if run in places:
            found[key][places[run]] = value[:_SHOWN_CHARACTERS] if isinstance(value, str) else value
    return dict(sorted(found.items()))


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
