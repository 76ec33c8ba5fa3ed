"""What a sweep loses by each fault: a tiny sweep is struck by it for real.

Where the user may not bring a fault about, it is left out, and said so.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.systems.faults.injections import FAULTS
from benchmarks.systems.faults.strike import strike
from benchmarks.systems.report import finish, show


def measure(names: Sequence[str]) -> dict[str, Any]:
    """Returns what was found after each fault whose name is given, wherever it can happen."""
    found: list[dict[str, Any]] = []
    for fault, place in ((f, place) for f in FAULTS if f.name in names for place in f.places):
        row: dict[str, Any] = {"fault": fault.name, "place": place}
        began = time.monotonic()
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            try:
                row |= asdict(strike(fault, place, Path(folder)))
            except PermissionError as error:
                row["left_out"] = str(error)
        row["seconds"] = round(time.monotonic() - began, 1)
        print(row, flush=True)
        found.append(row)
    return {"faults": found}


def print_results(results: dict[str, Any]) -> None:
    """Prints a row for each fault."""
    columns = ["finished", "running", "lost", "duplicated", "zombies", "restarted", "failed"]
    rows = []
    for row in results["faults"]:
        numbers = [str(row[column]) for column in columns] if "lost" in row else ["-"] * 7
        rows.append([f"{row['fault']} ({row['place']})", *numbers, f"{row['seconds']:.0f}"])
    show("finished and running: trials when it struck", ["fault", *columns, "seconds"], rows)


def main() -> int:
    """Strikes, prints a table, and writes JSON where it was asked for."""
    names = [fault.name for fault in FAULTS]
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.systems.faults", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--only", choices=names, nargs="+", default=names, help="these faults")
    parser.add_argument("--json", type=Path, help="file for the results")
    given = parser.parse_args()
    return finish(lambda: measure(given.only), print_results, given.json)


if __name__ == "__main__":
    sys.exit(main())
