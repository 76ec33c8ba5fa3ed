"""Exported networks as versions of a registered model, in the store that has their sweep's runs."""

import logging
import math
import os
import shutil
from pathlib import Path
from typing import Any

from orchestrator.tracking.store import ARTIFACTS_FOLDER, MLFLOW_SETTINGS, sqlite_file
from tinytl.errors import ConfigError, TinyTLError

_PROXIED = "mlflow-artifacts:/"
_FOLDER = "model"  # of the files, among the artifacts of the trial's run


def alias_of(peak_bytes: float) -> str:
    """Returns the alias that says within how much memory a network was trained: under-36mb."""
    return f"under-{math.ceil(peak_bytes / 1e6)}mb"


class Registry:
    """Registers what a trial trained, as coming from the trial's run.

    Args:
        uri: Of the store.
        sweep: The sweep's id.
        trial: Name of the trial.

    Raises:
        ConfigError: If the store is not there, or has no run of the trial.
        TinyTLError: If it does not answer.
    """

    def __init__(self, uri: str, sweep: str, trial: str) -> None:
        os.environ.update(MLFLOW_SETTINGS)
        from mlflow import MlflowClient  # takes seconds to import
        from mlflow.exceptions import MlflowException

        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)
        self._file = sqlite_file(uri)
        missing = f"--register: {uri} has no run of {trial} yet; upload it with `tinytl sync`"
        if self._file is not None and not self._file.exists():
            raise ConfigError(missing)
        self._error: type[Exception] = MlflowException
        self._client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        try:
            self._run = self._find_run(sweep, trial)
        except MlflowException as error:
            raise TinyTLError(f"--register: the MLflow store does not answer: {error}") from None
        if self._run is None:
            raise ConfigError(missing)

    def register(self, folder: Path, name: str, alias: str, tags: dict[str, str]) -> int:
        """Uploads a folder and makes it the newest version of a model, which gets the alias.

        Args:
            folder: What `tinytl.export` wrote.
            name: Of the model, which is created if it is not there.
            alias: Is taken from the version that has it.
            tags: Of the version.

        Returns:
            The version's number.

        Raises:
            TinyTLError: If the store refuses it, for example for its name.
        """
        try:
            self._create(name)  # first: it may be refused
            source = self._upload(folder)
            version = self._client.create_model_version(
                name,
                source,
                run_id=self._run.info.run_id,
                tags=tags,
                description=(folder / "MODEL.md").read_text(encoding="utf-8"),
            )
            self._client.set_registered_model_alias(name, alias, version.version)
        except self._error as error:
            raise TinyTLError(f"--register {name}: the MLflow store refuses it: {error}") from None
        return int(version.version)

    def _create(self, name: str) -> None:
        # not looked for before: a filter cannot say every name
        try:
            self._client.create_registered_model(name)
        except self._error as error:
            if getattr(error, "error_code", "") != "RESOURCE_ALREADY_EXISTS":
                raise

    def _find_run(self, sweep: str, trial: str) -> Any:
        # trials are told apart here, for the store's query language has no way to escape a quote
        token: str | None = ""
        experiments = [each.experiment_id for each in self._client.search_experiments()]
        while token is not None:
            page = self._client.search_runs(
                experiments, f"tags.\"tinytl.sweep\" = '{sweep}'", page_token=token or None
            )
            for run in page:
                if run.data.tags.get("tinytl.trial") == trial:
                    return run
            token = page.token or None
        return None

    def _upload(self, folder: Path) -> str:
        """Makes the files artifacts of the run, and returns their URI."""
        uri = self._run.info.artifact_uri
        if self._file is not None and uri.startswith(_PROXIED):
            # the server of `tinytl ui` serves this folder, wherever the sweep has been moved to
            place = self._file.parent / ARTIFACTS_FOLDER / uri.removeprefix(_PROXIED)
            shutil.copytree(folder, place / _FOLDER, dirs_exist_ok=True)
        else:
            self._client.log_artifacts(self._run.info.run_id, str(folder), _FOLDER)
        return f"{uri}/{_FOLDER}"
