"""How long the Pareto page takes to be ready, and to draw what a filter leaves, with many runs.

    python -m benchmarks.systems.page [--runs N] [--rounds N] [--json FILE] [--png FILE]

An MLflow store is filled with that many trials, its server is started, and a headless Chromium
opens the page and filters, each round in a fresh browser without a cache. Needs `playwright` and
Chromium.
"""

import argparse
import random
import shutil
import sqlite3
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from benchmarks.systems.report import finish, show
from orchestrator.launch import tracker_of
from orchestrator.record import Asked, Reported, SweepRecord, Told
from orchestrator.spec import load_spec
from orchestrator.tracking.store import STORE_FILE
from orchestrator.ui.address import Address
from orchestrator.ui.ports import choose_port
from orchestrator.ui.server import page_link, read_cursor, serve
from tinytl.errors import TinyTLError

READY_MILLISECONDS, REDRAW_MILLISECONDS = 3000, 200
_MEMORY = ("parameters", "buffers", "optimizer", "input", "activations", "gradients", "transient")
_OTHERS = ("train_loss", "val_loss", "test_loss", "test_accuracy", "step_seconds", "epoch_seconds")
_SECONDS = 60_000


def write_store(directory: Path, runs: int) -> None:
    """Makes a sweep's directory whose store has one real trial, and as many more like it."""
    spec = load_spec("digits")
    rng = random.Random(0)  # noqa: S311
    record = SweepRecord.create(directory, spec.resolved_yaml())
    metrics = _metrics(rng)
    record.append(Asked("digits-0000", "digits", 0, spec.space.sample(rng), 1_000_000))
    record.append(Reported("digits-0000", 1, metrics))
    record.append(Told("digits-0000", "complete", metrics))
    record.close()
    tracker = tracker_of(directory, spec)
    tracker.start()
    if not tracker.close(60):
        raise TinyTLError(f"the store could not be made: {tracker.problem}")
    with closing(sqlite3.connect(directory / STORE_FILE)) as database, database:
        _multiply(database, runs, lambda: (spec.space.sample(rng), _metrics(rng)))


def _metrics(rng: random.Random) -> dict[str, float]:
    size = 10 ** rng.uniform(6, 7.3)
    found = {"val_accuracy": rng.random() * (size / 2e7) ** 0.2, "peak_bytes": size}
    found |= {"saved_bytes": size * 0.6, "modeled_bytes": size * 0.3}
    found |= {f"memory.{part}_bytes": size / len(_MEMORY) for part in _MEMORY}
    return found | {name: rng.random() for name in _OTHERS}


def _multiply(database: sqlite3.Connection, runs: int, draw: Any) -> None:
    """Copies the store's trial, with other params and metrics."""
    query = "SELECT run_uuid FROM tags WHERE key = 'tinytl.trial'"
    (first,) = database.execute(query).fetchone()
    columns = [row[1] for row in database.execute("PRAGMA table_info(runs)")]
    values = database.execute("SELECT * FROM runs WHERE run_uuid = ?", (first,)).fetchone()
    run = dict(zip(columns, values, strict=True))
    tags = database.execute("SELECT key, value FROM tags WHERE run_uuid = ?", (first,)).fetchall()
    places = ", ".join("?" * len(columns))
    for number in range(1, runs):
        copy, name = f"{number:032x}", f"digits-{number:04d}"
        other = run | {"run_uuid": copy, "name": name, "start_time": run["start_time"] + number}
        database.execute(f"INSERT INTO runs VALUES ({places})", list(other.values()))  # noqa: S608
        own = dict(tags) | {"tinytl.trial": name, "mlflow.runName": name}
        database.executemany(
            "INSERT INTO tags (key, value, run_uuid) VALUES (?, ?, ?)",
            [(key, value, copy) for key, value in own.items()],
        )
        params, metrics = draw()
        database.executemany(
            "INSERT INTO params (key, value, run_uuid) VALUES (?, ?, ?)",
            [(key, str(value), copy) for key, value in params.items()],
        )
        database.executemany(
            "INSERT INTO latest_metrics (key, value, timestamp, step, is_nan, run_uuid) "
            "VALUES (?, ?, ?, 4, 0, ?)",
            [(key, value, run["end_time"], copy) for key, value in metrics.items()],
        )


def measure(runs: int, rounds: int, picture: Path | None) -> dict[str, Any]:
    """Returns milliseconds of each round.

    Raises:
        TinyTLError: If there is no browser, or the store or its server cannot be started.
    """
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder) / "sweep"
        write_store(directory, runs)
        cursor = read_cursor(directory)
        address = Address("127.0.0.1", choose_port("127.0.0.1", None))
        with serve(directory, cursor, address) as server:
            _, link = page_link(cursor, address.url)
            del server
            found = list(_rounds(link, rounds, picture))
    ready = [each["ready"] for each in found]
    redraws = [milliseconds for each in found for milliseconds in each["redraws"]]
    return {
        "runs": runs,
        "ready_milliseconds": ready,
        "redraw_milliseconds": redraws,
        "claims": [
            _claim("page ready", statistics.median(ready), READY_MILLISECONDS),
            _claim("filter redrawn", statistics.median(redraws), REDRAW_MILLISECONDS),
        ],
    }


def _claim(what: str, found: float, most: int) -> dict[str, Any]:
    return {
        "claim": f"{what} within {most} ms",
        "found": f"{found:.0f} ms",
        "holds": found <= most,
    }


def _rounds(link: str, rounds: int, picture: Path | None) -> Iterator[dict[str, Any]]:
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise TinyTLError(
            "playwright is missing; install it with: pip install playwright"
        ) from None
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        raise TinyTLError("there is no Chromium; install it, as root: apt-get install chromium")
    with sync_playwright() as playwright:
        for number in range(rounds + 1):
            options = ["--no-sandbox"]  # Chromium cannot have one as root, and only this is opened
            browser = playwright.chromium.launch(executable_path=chromium, args=options)
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            found = _visit(page, link)
            if picture is not None and number == rounds:
                page.screenshot(path=picture)
            browser.close()
            if number:  # the first one warms the server
                yield found


def _visit(page: Any, link: str) -> dict[str, Any]:
    """Opens the page, and turns three choices of a filter off, one after the other."""
    page.goto(link)
    page.wait_for_selector("body[data-ready]", timeout=_SECONDS)
    ready = int(page.evaluate("document.body.dataset.ready"))
    redraws = []
    page.evaluate("document.getElementById('filters-box').open = true")
    for method in ("last", "full", "bn+last"):
        before = int(page.evaluate("document.body.dataset.drawn"))
        page.click(f"#filters input[value='{method}']")
        page.wait_for_selector(f"body[data-drawn='{before + 1}']", timeout=_SECONDS)
        redraws.append(int(page.evaluate("document.body.dataset.redrawMilliseconds")))
    return {"ready": ready, "redraws": redraws}


def print_results(results: dict[str, Any]) -> None:
    """Prints the claims."""
    rows = [[c["claim"], c["found"], "yes" if c["holds"] else "NO"] for c in results["claims"]]
    show(f"Pareto page, {results['runs']:,} runs", ["", "median", "holds"], rows)


def main() -> int:
    """Measures, prints a table, and writes JSON and a picture where they were asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.systems.page", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--runs", type=int, default=10_000, help="trials in the store [10000]")
    parser.add_argument("--rounds", type=int, default=3, help="browsers, after one [3]")
    parser.add_argument("--json", type=Path, help="file for the results")
    parser.add_argument("--png", type=Path, help="file for a picture of the page")
    given = parser.parse_args()
    return finish(lambda: measure(given.runs, given.rounds, given.png), print_results, given.json)


if __name__ == "__main__":
    sys.exit(main())
