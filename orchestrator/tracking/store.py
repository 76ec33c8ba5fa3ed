"""One sweep's runs in an MLflow store; the only file that imports mlflow."""

import json
import logging
import os
import re
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any
from urllib.parse import quote

from orchestrator.record import Asked
from orchestrator.record.environment import Input
from orchestrator.tracking.runs import VERDICT, Run, Update
from tinytl.storage import locked

STORE_FILE = "mlflow.db"
ARTIFACTS_FOLDER = "mlartifacts"

# nothing leaves the machine but what is logged, and nothing is printed into the sweep's progress;
# no retries inside the client: it would repeat the creation of a run without looking for it first
MLFLOW_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
}

_MAX_KEY, _MAX_PARAM, _MAX_TAG = 250, 6000, 8000
_MAX_PARAMS_PER_BATCH, _MAX_METRICS_PER_BATCH = 100, 800
_MAX_NAME_OF_INPUT, _MAX_DIGEST = 500, 36
_PROXIED = "mlflow-artifacts:/"
SQLITE = "sqlite:///"


class Store:
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
        self._local_artifacts = file.parent / ARTIFACTS_FOLDER if file else None
        # the store's query language has no way to escape a quote
        self._sweep = quote(_text(sweep, _MAX_KEY), safe=" +:@")
        # of several sweeps that start on a new file, one creates its tables and the others wait:
        # MLflow itself lets them all create the same
        with locked(file) if file else nullcontext():
            if file is not None:
                _prepare(file)
            self._client = MlflowClient(tracking_uri=uri)
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
        """Logs params, metrics, tags and inputs, as few batches as the store's limits allow."""
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
        if update.inputs:
            self._client.log_inputs(run.id, [_dataset_input(each) for each in update.inputs])

    def set_status(self, run: Run, status: str, end: float | None = None) -> None:
        """Sets the run's status, and with an end time ends it, unless that is so already."""
        if run.status == status:
            return
        if end is None:
            self._client.update_run(run.id, status=status)
        else:
            self._client.set_terminated(run.id, status, _milliseconds(end))
        run.status = status

    def tag_experiment(self, name: str, value: str) -> None:
        """Sets a tag of the experiment."""
        self._client.set_experiment_tag(self.experiment_id, name, value)

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
    return Path(uri.removeprefix(SQLITE)) if uri.startswith(SQLITE) else None


def _identity(tags: Mapping[str, str]) -> tuple[str, str]:
    return tags["tinytl.study"], tags.get("tinytl.trial", "")


def _known(run: Any) -> Run:
    info, verdict = run.info, run.data.tags.get(VERDICT)
    return Run(info.run_id, info.run_name, info.status, info.artifact_uri, verdict)


def _dataset_input(given: Input) -> Any:
    """The input as MLflow has it, whose digests are shorter; the whole one is in the profile."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    kind = "http" if given.source.startswith(("http://", "https://")) else "local"
    source = {"url" if kind == "http" else "uri": given.source}
    dataset = Dataset(
        name=_text(given.name, _MAX_NAME_OF_INPUT),
        digest=given.digest[:_MAX_DIGEST],
        source_type=kind if given.source else "code",
        source=json.dumps(source if given.source else {"tags": {}}),
        profile=json.dumps({**given.profile, "sha256": given.digest}),
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", given.kind)])


def _prepare(file: Path) -> None:
    """Makes sure that a database has MLflow's tables, and is fast.

    They are created in a file beside it: MLflow never recovers one whose creation was cut short.
    """
    from mlflow import MlflowClient

    if not file.exists() or not file.stat().st_size:
        partial = file.with_name(f"{file.name}.partial")
        partial.unlink(missing_ok=True)
        MlflowClient(tracking_uri=f"{SQLITE}{partial}").search_experiments(max_results=1)
        partial.replace(file)
    with closing(sqlite3.connect(file)) as database:
        # 15 times faster than the default, and read by the UI's server meanwhile
        database.execute("PRAGMA journal_mode=WAL")


def _key(name: str) -> str:
    """The name as MLflow allows it for params and metrics."""
    return re.sub(r"[^\w .-]", "_", name)[:_MAX_KEY].strip(" .") or "_"


def _text(value: object, limit: int) -> str:
    """The value as text that any database takes, cut to the limit with an ellipsis."""
    text = str(value).encode("utf-8", "replace").decode().replace("\0", "\ufffd")
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)
