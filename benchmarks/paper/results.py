"""What was found, one JSON file a cell: kept, found again, and known to be outdated."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from benchmarks.systems.report import provenance
from orchestrator.inputs.provenance import DISTRIBUTION, environment_of
from orchestrator.inputs.site import Site
from tinytl.storage import library_digest, write_atomically

Found = dict[str, Any]


@dataclass(frozen=True)
class Cell:
    """What is computed at once and kept in a file.

    Attributes:
        name: Names the file.
        group: What it has in common with cells that say other things of the same configuration.
        settings: All that it is computed from, besides the program and the machine.
    """

    name: str
    group: str
    settings: Mapping[str, Any] = field(hash=False)


class Results:
    """The directory of an experiment's results.

    Args:
        directory: Need not exist.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def path(self, cell: Cell) -> Path:
        """Returns the cell's file."""
        return self.directory / f"{cell.name}.json"

    def find(self, cell: Cell) -> Found | None:
        """Returns what was found last, or None where there is nothing or it is outdated."""
        found = self._read(cell)
        return found if found is not None and found.get("depends_on") == depends_on(cell) else None

    def state(self, cell: Cell) -> str:
        """Returns `done`, `outdated` or `missing`."""
        if self._read(cell) is None:
            return "missing"
        return "outdated" if self.find(cell) is None else "done"

    def write(self, cell: Cell, numbers: Mapping[str, Any], origin: Mapping[str, Any]) -> None:
        """Keeps what was found.

        Raises:
            StorageError: If it cannot be written.
        """
        content = {
            "cell": cell.name,
            "depends_on": depends_on(cell),
            "numbers": numbers,
            "provenance": origin,
        }
        write_atomically(self.path(cell), json.dumps(content, indent=2) + "\n")
        self._problem_path(cell).unlink(missing_ok=True)

    def problem(self, cell: Cell) -> str:
        """Returns why the cell could not be run when that was last tried; empty where it could."""
        content = self._content(self._problem_path(cell))
        return str(content.get("problem", ""))

    def write_problem(self, cell: Cell, problem: str) -> None:
        """Keeps why the cell could not be run.

        Raises:
            StorageError: If it cannot be written.
        """
        content = {"cell": cell.name, "problem": problem}
        write_atomically(self._problem_path(cell), json.dumps(content, indent=2) + "\n")

    def _problem_path(self, cell: Cell) -> Path:
        return self.directory / "problems" / f"{cell.name}.json"

    def _read(self, cell: Cell) -> Found | None:
        content = self._content(self.path(cell))
        return content if "numbers" in content else None

    @staticmethod
    def _content(path: Path) -> Found:
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):  # a file that is no JSON is as good as none: it is redone
            return {}
        return content if isinstance(content, dict) else {}


def depends_on(cell: Cell) -> dict[str, Any]:
    """Returns what makes a result outdated when it changes.

    The digest of the library's source stands for its commit: it changes with every edit of it,
    committed or not, and not with an edit of a document.
    """
    return {
        "settings": dict(cell.settings),
        "version": version(DISTRIBUTION),
        "library": library_digest(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),  # on which the kernels' scratch depends
    }


def origin(directory: Path) -> dict[str, Any]:
    """Returns where and when results are found: machine, versions, commit."""
    site = Site(None, None, "cpu", {}, lambda *_: 0)  # no trial is run there
    environment = environment_of(directory, site, ())
    return {
        **provenance(),
        "processor": environment.device,
        "commit": environment.commit,
        "uncommitted_changes": environment.dirty,
    }
