"""MLflow tracking: the event log of a sweep mirrored into a store, off the driver's path."""

import logging
import os
import re
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from orchestrator.fronts.pareto import Objectives
from orchestrator.record import Asked
from orchestrator.tracking.background import Worker
from orchestrator.tracking.mirror import Mirror, Run, Update

STORE_FILE = "mlflow.db"
ARTIFACTS_FOLDER = "mlartifacts"

# nothing leaves the machine but what is logged, and nothing is printed into the sweep's progress;
# no retries inside the client: it would repeat the creation of a run without looking for it first
MLFLOW_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
}

_MAX_KEY, _MAX_PARAM, _MAX_TAG = 250, 6000, 8000
_MAX_PARAMS_PER_BATCH, _MAX_METRICS_PER_BATCH = 100, 800
_PROXIED = "mlflow-artifacts:/"
_SQLITE = "sqlite:///"


class Tracker:
    """Mirrors a sweep's directory into MLflow from a thread of its own.

    One parent run for each study, tagged `tinytl.sweep` and `tinytl.study`, with the front as
    artifacts, table and metrics; below it one child run for each trial, tagged `tinytl.trial`,
    `tinytl.state` and `tinytl.reason`. Complete trials are FINISHED, those stopped early KILLED,
    failed and infeasible ones FAILED, those that wait for `--resume` SCHEDULED.

    Nothing here raises into the sweep.

    Args:
        directory: The sweep's directory.
        sweep: An id that no other sweep in the store has.
        experiment: Name of the MLflow experiment.
        objectives: Metric names and modes.
        limits: The sweep's limits, for the hypervolume's reference.
        uri: An MLflow tracking URI; None keeps the store in the sweep's directory, where it can be
            moved and copied together with it. The artifacts of an sqlite store lie beside it.

    Attributes:
        problem: What keeps the store behind at the moment, in one sentence, or None.
    """

    def __init__(
        self,
        directory: Path,
        *,
        sweep: str,
        experiment: str,
        objectives: Objectives,
        limits: Mapping[str, float],
        uri: str | None = None,
    ) -> None:
        self.problem: str | None = None
        self._directory = directory.resolve()
        self._sweep = sweep
        self._experiment = experiment
        self._objectives = dict(objectives)
        self._limits = dict(limits)
        self._uri = _absolute(uri)
        self._mirror: Mirror | None = None
        self._worker = Worker(self._update, self._on_error, name="mlflow-tracker")

    @property
    def store_uri(self) -> str:
        """The store's URI, without user and password."""
        return _public(self._uri) or f"{_SQLITE}{self._directory / STORE_FILE}"

    def start(self) -> None:
        """Starts to follow the event log."""
        self._worker.start()

    def notify(self) -> None:
        """Says that events were appended; returns at once."""
        self._worker.wake()

    def close(self, timeout: float) -> bool:
        """Uploads what is left and ends the thread.

        Returns:
            Whether everything is in the store. If not, `problem` says why, and the rest follows
            when the sweep is resumed.
        """
        drained = self._worker.close(timeout)
        if not drained and self.problem is None:
            self.problem = self._sentence(f"it did not take everything within {timeout:g} s")
        return drained

    def _on_error(self, error: Exception | None) -> None:
        if error is None:
            self.problem = None
        else:
            # what the store took of it is unknown: connect anew, which looks for all runs
            self._mirror = None
            self.problem = self._sentence(f"{type(error).__name__}: {error}")

    def _sentence(self, why: str) -> str:
        return (
            f"the MLflow store {self.store_uri} is behind: {' '.join(why.split())[:300]}; nothing "
            f"is lost: {self._directory} has everything, and it is uploaded once the store works, "
            "with --resume, or by `tinytl sync`"
        )

    def _update(self, last: bool) -> float | None:
        self._mirror = self._mirror or self._connect()
        return self._mirror.update(last)

    def _connect(self) -> Mirror:
        return Mirror(
            self._directory,
            _Store(self._uri or self.store_uri, self._experiment, self._sweep),
            sweep=self._sweep,
            store=_public(self._uri),
            objectives=self._objectives,
            limits=self._limits,
        )


class _Store:
    """One sweep's runs in an MLflow store, looked for before they are created.

    Args:
        uri: The tracking URI.
        experiment: Name of the experiment.
        sweep: The sweep's id.
    """

    def __init__(self, uri: str, experiment: str, sweep: str) -> None:
        os.environ.update(MLFLOW_SETTINGS)
        # takes seconds to import, which belong to this thread and not to the command's start
        from mlflow import MlflowClient

        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)
        file = sqlite_file(uri)
        if file is not None:
            # 15 times faster than the default journal, and read by the UI's server meanwhile
            with closing(sqlite3.connect(file)) as database:
                database.execute("PRAGMA journal_mode=WAL")
        self._client = MlflowClient(tracking_uri=uri)
        self._local_artifacts = file.parent / ARTIFACTS_FOLDER if file else None
        # the store's query language has no way to escape a quote
        self._sweep = quote(_text(sweep, _MAX_KEY), safe=" +:@")
        self.experiment_id = self._find_experiment(experiment)
        self._runs = self._find_runs()

    def study(self, study: str, began: float) -> Run:
        """Returns the study's parent run."""
        return self._find_or_create(study, began, {"tinytl.study": study})

    def trial(self, parent: Run, asked: Asked) -> Run:
        """Returns the trial's run below its study's."""
        tags = {"tinytl.study": asked.study, "tinytl.trial": asked.trial}
        tags["mlflow.parentRunId"] = parent.id
        return self._find_or_create(asked.trial, asked.time, tags)

    def log(self, run: Run, update: Update) -> None:
        """Logs params, metrics and tags, as few batches as the store's limits allow."""
        from mlflow.entities import Metric, Param, RunTag

        values = {_key(name): _text(value, _MAX_PARAM) for name, value in update.params.items()}
        params = [Param(name, value) for name, value in values.items()]
        metrics = [
            Metric(_key(name), float(value), _milliseconds(at), step)
            for name, value, step, at in update.metrics
        ]
        tags = [RunTag(name, _text(value, _MAX_TAG)) for name, value in update.tags.items()]
        while params or metrics or tags:
            self._client.log_batch(
                run.id,
                metrics=metrics[:_MAX_METRICS_PER_BATCH],
                params=params[:_MAX_PARAMS_PER_BATCH],
                tags=tags,
            )
            del metrics[:_MAX_METRICS_PER_BATCH], params[:_MAX_PARAMS_PER_BATCH]
            tags = []

    def set_status(self, run: Run, status: str, end: float | None = None) -> None:
        """Sets the run's status, and with an end time ends it, unless that is so already."""
        if run.status == status:
            return
        if end is None:
            self._client.update_run(run.id, status=status)
        else:
            self._client.set_terminated(run.id, status, _milliseconds(end))
        run.status = status

    @contextmanager
    def artifacts(self, run: Run) -> Iterator[Path]:
        """Gives a folder whose files become artifacts of the run."""
        if self._local_artifacts is not None and run.artifact_uri.startswith(_PROXIED):
            # the server of `tinytl ui` serves this folder, wherever the sweep has been moved to
            folder = self._local_artifacts / run.artifact_uri.removeprefix(_PROXIED)
            folder.mkdir(parents=True, exist_ok=True)
            yield folder
            return
        with tempfile.TemporaryDirectory() as temporary:
            yield Path(temporary)
            self._client.log_artifacts(run.id, temporary)

    def _find_experiment(self, name: str) -> str:
        experiment = self._client.get_experiment_by_name(name)
        if experiment is not None:
            return experiment.experiment_id
        location = f"{_PROXIED}runs" if self._local_artifacts else None
        return self._client.create_experiment(name, artifact_location=location)

    def _find_runs(self) -> dict[tuple[str, str], Run]:
        runs: dict[tuple[str, str], Run] = {}
        token: str | None = ""
        while token is not None:
            page = self._client.search_runs(
                [self.experiment_id],
                f"tags.\"tinytl.sweep\" = '{self._sweep}'",
                page_token=token or None,
            )
            runs |= {_identity(run.data.tags): _known(run) for run in page}
            token = page.token or None
        return runs

    def _find_or_create(self, name: str, began: float, tags: dict[str, str]) -> Run:
        tags = {"tinytl.sweep": self._sweep} | {
            name: _text(value, _MAX_TAG) for name, value in tags.items()
        }
        key = _identity(tags)
        if key not in self._runs:
            run = self._client.create_run(
                self.experiment_id, _milliseconds(began), tags, _text(name, _MAX_KEY)
            )
            self._runs[key] = _known(run)
        return self._runs[key]


def sqlite_file(uri: str) -> Path | None:
    """Returns the file of an sqlite store, or None for any other."""
    return Path(uri.removeprefix(_SQLITE)) if uri.startswith(_SQLITE) else None


def _identity(tags: Mapping[str, str]) -> tuple[str, str]:
    return tags["tinytl.study"], tags.get("tinytl.trial", "")


def _known(run: Any) -> Run:
    return Run(run.info.run_id, run.info.run_name, run.info.status, run.info.artifact_uri)


def _key(name: str) -> str:
    """The name as MLflow allows it for params and metrics."""
    return re.sub(r"[^\w .-]", "_", name)[:_MAX_KEY].strip(" .") or "_"


def _text(value: object, limit: int) -> str:
    """The value as text that any database takes, cut to the limit with an ellipsis."""
    text = str(value).encode("utf-8", "replace").decode().replace("\0", "\ufffd")
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)


def _absolute(uri: str | None) -> str | None:
    file = sqlite_file(uri) if uri else None
    return f"{_SQLITE}{file.resolve()}" if file else uri


def _public(uri: str | None) -> str | None:
    return uri and re.sub(r"//[^/@]*@", "//", uri)
