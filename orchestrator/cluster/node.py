"""What every node of a cluster must have before the first trial; runs on the node."""

import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from orchestrator.inputs.prepare import prepare_inputs
from orchestrator.resources.classes import library_digest
from orchestrator.spec import SweepSpec
from tinytl.errors import StorageError
from tinytl.storage import write_atomically

_NOTE_FILE = "node_check"


@dataclass(frozen=True)
class NodeNeeds:
    """What trials of a sweep need, wherever they run.

    Attributes:
        spec: The sweep.
        directory: The sweep's directory, which all nodes share.
        note: What lies in it while nodes are asked, see `note_in`.
        data: Root of the datasets; shared, or the same on each node.
        weights: Where to look for weights first; shared, or the same on each node.
        library: Digest of the library's source.
    """

    spec: SweepSpec
    directory: Path
    note: str
    data: Path | None
    weights: Path | None
    library: str


@contextmanager
def note_in(directory: Path) -> Iterator[str]:
    """Lays a new note into the sweep's directory, and yields it while nodes look for it.

    Raises:
        StorageError: If it cannot be written.
    """
    note = uuid.uuid4().hex
    write_atomically(directory / _NOTE_FILE, note)
    try:
        yield note
    finally:
        (directory / _NOTE_FILE).unlink(missing_ok=True)


def node_problems(needs: NodeNeeds) -> list[str]:
    """Places weights on this node and returns a sentence for everything that it lacks."""
    problems = []
    if _seen_note(needs.directory) != needs.note:
        problems.append(
            f"the sweep's directory {needs.directory} is not the one that the sweep writes; mount "
            "the same storage there, or name a directory on shared storage with --out"
        )
    elif problem := _unwritable(needs.directory):
        problems.append(problem)
    if library_digest() != needs.library:
        problems.append("it has another version of this package; install the same everywhere")
    _, missing = prepare_inputs(needs.spec, needs.data, needs.weights, Console(quiet=True))
    return problems + missing


def _seen_note(directory: Path) -> str | None:
    with suppress(OSError):
        return (directory / _NOTE_FILE).read_text(encoding="utf-8")
    return None


def _unwritable(directory: Path) -> str | None:
    """Returns why a trial could not keep its checkpoint there, if so."""
    probe = directory / f"{_NOTE_FILE}.{uuid.uuid4().hex}"
    try:
        write_atomically(probe, "")
        probe.unlink()
    except StorageError as error:
        return str(error)
    return None


def together(problems: Iterable[tuple[str, list[str]]]) -> list[str]:
    """Returns each problem of named nodes once, with all nodes that have it."""
    nodes: dict[str, list[str]] = {}
    for node, sentences in problems:
        for sentence in sentences:
            nodes.setdefault(sentence, []).append(node)
    return [f"on {', '.join(names)}: {sentence}" for sentence, names in nodes.items()]
