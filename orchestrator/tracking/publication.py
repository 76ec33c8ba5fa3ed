"""A front as people see it who open its run in any MLflow: picture, tables, description, metrics.

All of it is plain artifacts and tags, so that a server without our page shows it.
"""

import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from orchestrator.fronts.pareto import (
    Objectives,
    Point,
    front,
    front_markdown,
    front_rows,
    hypervolume,
    reference_point,
)
from orchestrator.fronts.plots import axes, write_pictures
from tinytl.storage import write_atomically

TABLE_FILE = "front.json"
# what MLflow's own `log_table` leaves, so that its pages know the file for a table
TABLE_TAGS = {"mlflow.loggedArtifacts": json.dumps([{"path": TABLE_FILE, "type": "table"}])}

VIEW_TAG = "mlflow.sharedViewState."  # with the key that an address names
_NOTE = "mlflow.note.content"
_MOST_CHARACTERS = 8000  # of a tag


def write_front(
    folder: Path, complete: Sequence[Point], objectives: Objectives, study: str
) -> None:
    """Writes a front's page, picture and tables into a folder.

    Raises:
        StorageError: If they cannot be written.
    """
    write_pictures(folder, complete, objectives, study)
    table = front_json(front(complete, objectives), objectives)
    write_atomically(folder / TABLE_FILE, table.encode("utf-8", "replace"))


def front_json(best: Sequence[Point], objectives: Objectives) -> str:
    """Returns the front as MLflow keeps tables: the columns, and of each row what is in them."""
    rows = front_rows(best, objectives)
    columns = list(dict.fromkeys(name for row in rows for name in row)) or ["trial", *objectives]
    data = [[_cell(row.get(name)) for name in columns] for row in rows]
    return json.dumps({"columns": columns, "data": data}, ensure_ascii=False)


def description_tags(
    experiment_id: str, run_id: str, best: Sequence[Point], objectives: Objectives
) -> dict[str, str]:
    """Returns the tags that describe a study's run: links, its front as picture and as table.

    Addresses are relative, as those of MLflow's page are: they are found below whatever prefix a
    server has. Rows that a tag has no room for are counted.
    """
    address = urlencode({"path": "front.png", "run_uuid": run_id})
    page = f"[Pareto page](tinytl/pareto?study={run_id}), where the server has it"
    view = {
        "compareRunsMode": "CHART",
        "viewStateShareKey": run_id,
        "workflowType": "machine_learning",
    }
    chart = f" · [all complete trials](#/experiments/{experiment_id}/runs?{urlencode(view)})\n\n"
    picture = f"![Pareto front](get-artifact?{address})\n\n" if best else ""
    for count in range(len(best), -1, -1):
        text = page + chart + picture + front_markdown(best[:count], objectives)
        if count < len(best):
            text += f"\nand {len(best) - count} more, see the artifact front.csv\n"
        if len(text) <= _MOST_CHARACTERS:
            break
    return {_NOTE: text}


def chart_view(run_id: str, objectives: Objectives) -> str:
    """Returns what MLflow's page of runs restores a view from: a study's complete trials, drawn.

    They are sorted by a metric because runs that are sorted by time are folded into their parent,
    and what is folded is not drawn.
    """
    x, y = axes(objectives)
    chart = {
        "uuid": "trials",
        "type": "SCATTER",
        "xaxis": {"key": x, "type": "METRIC"},
        "yaxis": {"key": y, "type": "METRIC"},
        "runsCountToCompare": 100,
        "metricSectionId": "front",
        "deleted": False,
        "isGenerated": False,
    }
    section = {"uuid": "front", "name": "Complete trials", "display": True, "isReordered": False}
    state = {
        "searchFilter": f"tags.`mlflow.parentRunId` = '{run_id}' AND status = 'FINISHED'",
        "orderByKey": f"metrics.`{y}`",
        "orderByAsc": False,
        "runsHiddenMode": "SHOW_ALL",
        "hideEmptyCharts": False,
        "compareRunCharts": [chart],
        "compareRunSections": [section],
    }
    return "deflate;" + base64.b64encode(zlib.compress(json.dumps(state).encode())).decode()


def front_metrics(
    complete: Sequence[Point],
    best: Sequence[Point],
    objectives: Objectives,
    limits: Mapping[str, float],
) -> dict[str, float]:
    """Returns the size of a front, its hypervolume, and the best that it has of each objective."""
    reference = reference_point(complete, objectives, limits)
    metrics = {
        "front_size": float(len(best)),
        "hypervolume": hypervolume(complete, objectives, reference),
    }
    for name, mode in objectives.items() if best else ():
        values = [point.values[name] for point in best]
        metrics[f"best.{name}"] = max(values) if mode == "max" else min(values)
    return metrics


def verdicts(complete: Sequence[Point], objectives: Objectives) -> dict[str, str]:
    """Returns of each complete trial whether it is on the front or dominated by another."""
    best = {point.trial for point in front(complete, objectives)}
    return {p.trial: "front" if p.trial in best else "dominated" for p in complete}


def _cell(value: Any) -> Any:
    """The value as JSON and MLflow's table have it: one value, and no nan."""
    if isinstance(value, float) and value - value != 0:
        return None
    return value if value is None or isinstance(value, str | int | float) else json.dumps(value)
