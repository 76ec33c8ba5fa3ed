"""The Pareto page inside an MLflow server: `mlflow server --app-name tinytl`.

Its routes are Flask's, registered beside MLflow's own, so that whatever guards those guards these.
The page asks the data route for trials and MLflow's own API for everything else.
"""

import json
import os
from pathlib import Path
from typing import Any

from flask import Blueprint, Response, abort, request, send_file
from sqlalchemy import Engine

from orchestrator.fronts.paper import paper_points
from orchestrator.fronts.pareto import METRICS, label
from orchestrator.ui.store import Trials

PAGE = "/tinytl/pareto"
DATA = "/tinytl/data"
_STATIC = Path(__file__).parent / "static"
_TYPES = {".js": "text/javascript", ".css": "text/css"}
_FILES = sorted(path.name for path in _STATIC.iterdir() if path.suffix in _TYPES)
_POLICY = (  # nothing is loaded from elsewhere, and no text of a run is ever run
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: "
    "blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)


def create_app() -> Any:
    """Returns MLflow's application with the page; its server calls this."""
    from mlflow.server import app
    from mlflow.server.handlers import _add_static_prefix

    app.register_blueprint(_blueprint(), url_prefix=_add_static_prefix("/tinytl"))
    if os.environ.get("TINYTL_UI_AUTH"):
        from orchestrator.ui.auth import compose

        files = [_add_static_prefix(f"/tinytl/{name}") for name in (*_FILES, "plotly.js")]
        return compose(app, [_add_static_prefix(DATA)], [_add_static_prefix(PAGE), *files])
    from mlflow.server.fastapi_app import create_fastapi_app

    return create_fastapi_app(app)


def _blueprint() -> Blueprint:
    pages = Blueprint("tinytl", __name__)

    @pages.get("/pareto")
    def page() -> Response:
        response = send_file(_STATIC / "page.html", mimetype="text/html", max_age=0)
        response.headers["Content-Security-Policy"] = _POLICY
        return response

    @pages.get("/plotly.js")
    def plotly() -> Response:
        from plotly.offline import offline

        file = Path(offline.__file__).parents[1] / "package_data" / "plotly.min.js"
        return send_file(file, mimetype="text/javascript", max_age=3600)

    def static(name: str) -> Response:
        return send_file(_STATIC / name, mimetype=_TYPES[Path(name).suffix], max_age=0)

    for name in _FILES:
        pages.add_url_rule(f"/{name}", name.replace(".", "_"), lambda name=name: static(name))

    @pages.get("/data")
    def data() -> Response:
        experiment = _experiment()
        trials = Trials(_engine())
        response = Response(mimetype="application/json")
        response.headers["Cache-Control"] = "no-cache"
        response.set_etag(trials.version(experiment))
        if request.if_none_match.contains(response.get_etag()[0] or ""):
            response.status_code = 304
            return response
        content = trials.read(experiment) | {"metrics": _described(), "paper": paper_points()}
        response.set_data(json.dumps(content, separators=(",", ":")))
        return response

    return pages


def _experiment() -> int:
    """Returns the experiment that is asked for, which MLflow numbers."""
    asked = request.args.get("experiment_id", "")
    if not asked.isdecimal():
        abort(400, "experiment_id: must be the number of an experiment")
    return int(asked)


def _engine() -> Engine:
    """Returns the database of the server's store."""
    from mlflow.server.handlers import _get_tracking_store

    engine = getattr(_get_tracking_store(), "engine", None)
    if not isinstance(engine, Engine):
        abort(501, "the page reads an MLflow store in a database, such as sqlite or PostgreSQL")
    return engine


def _described() -> dict[str, dict[str, str]]:
    """Returns the metrics that can be objectives, with their mode and a name for people."""
    return {name: {"mode": mode, "label": label(name)} for name, mode in METRICS.items()}
