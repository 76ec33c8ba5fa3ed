"""What a benchmark found: a table for people, and a file that says where it was found."""

import json
import os
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from tinytl.errors import TinyTLError
from tinytl.storage import write_atomically

_PACKAGES = ("tinytl-orchestrator", "torch", "torchvision", "pillow", "numpy")


def provenance() -> dict[str, Any]:
    """Returns what numbers of speed and memory depend on, besides what is measured."""
    cuda = torch.cuda.is_available()
    return {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in _PACKAGES},
        "system": f"{platform.system()} {platform.machine()}",
        "cpus": os.cpu_count(),
        "cpu_kernels": torch.backends.cpu.get_cpu_capability(),
        "load": [round(load, 2) for load in os.getloadavg()],
        "device": torch.cuda.get_device_name() if cuda else "cpu",
    }


def write(path: Path, results: Mapping[str, Any]) -> None:
    """Writes results as JSON, with their provenance.

    Raises:
        StorageError: If the file cannot be written.
    """
    content = {"provenance": provenance(), **results}
    write_atomically(path, json.dumps(content, indent=2) + "\n")


def finish(
    measure: Callable[[], Mapping[str, Any]],
    print_results: Callable[[Any], None],
    path: Path | None,
    *,
    png: Path | None = None,
    draw: Callable[[Any], bytes] | None = None,
) -> int:
    """Measures, prints, writes JSON and a picture where they were asked for.

    A user's mistake is one line and status 2.

    Args:
        measure: Returns the results.
        print_results: Prints them as a table.
        path: For the JSON.
        png: For the picture.
        draw: Makes the picture of the results.

    Returns:
        The exit status.
    """
    try:
        results = measure()
        print_results(results)
        if path is not None:
            write(path, results)
        if png is not None and draw is not None:
            write_atomically(png, draw(results))
    except TinyTLError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints a table; all columns but the first hold numbers."""
    table = Table(title=title, title_justify="left")
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left")
    for row in rows:
        table.add_row(*row)
    Console().print(table)
