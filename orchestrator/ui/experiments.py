"""The experiments of a store, found by name."""

import logging
import os
from dataclasses import replace

from orchestrator.tracking.mirror import Cursor
from orchestrator.tracking.store import MLFLOW_SETTINGS
from tinytl.errors import ConfigError, TinyTLError

_SHOWN = 20


def choose_experiment(cursor: Cursor, store: str, name: str) -> Cursor:
    """Returns the cursor for another experiment of the store; its studies are not known.

    Raises:
        ConfigError: If the store has no such experiment.
        TinyTLError: If the store cannot be read.
    """
    experiments = _experiments(store)
    if name not in experiments:
        shown = ", ".join(list(experiments)[:_SHOWN]) or "none"
        rest = len(experiments) - _SHOWN
        raise ConfigError(
            f"--experiment must be one of the store {store}, but got {name!r}; there are: {shown}"
            + (f" and {rest} more" if rest > 0 else "")
        )
    found = experiments[name]
    return (
        cursor
        if found == cursor.experiment_id
        else replace(cursor, experiment_id=found, studies={})
    )


def _experiments(store: str) -> dict[str, str]:
    """Returns the ids of the store's experiments by name, the newest first."""
    os.environ.update(MLFLOW_SETTINGS)
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    client = MlflowClient(tracking_uri=store)
    found: dict[str, str] = {}
    token: str | None = ""
    try:
        while token is not None:
            page = client.search_experiments(page_token=token or None)
            found |= {experiment.name: experiment.experiment_id for experiment in page}
            token = page.token or None
    except MlflowException as error:
        raise TinyTLError(
            f"cannot read the experiments of {store}: {' '.join(str(error).split())[:300]}; see "
            "that the store is there and lets you in"
        ) from None
    return found
