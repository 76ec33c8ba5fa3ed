"""What the processes that ran a sweep depended on besides its file, noted by each when it began."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Self

from orchestrator.record.events import EVENTS_FILE
from tinytl.errors import StorageError
from tinytl.storage import write_atomically

ENVIRONMENTS_FILE = "environments.json"


@dataclass(frozen=True)
class Input:
    """Data that trials start from.

    Attributes:
        kind: What it is.
        name: For people.
        digest: SHA-256 that changes with its content, in hexadecimal digits.
        source: The address or path that it was had from; "" for what is built in.
        profile: What people want to know of it.
        of: Settings of the trials that start from it; None for one that is not given.
    """

    kind: Literal["dataset", "weights"]
    name: str
    digest: str
    source: str
    profile: dict[str, Any]
    of: dict[str, Any]

    def is_of(self, settings: Mapping[str, Any]) -> bool:
        """Returns whether a trial with these settings starts from it."""
        return all(settings.get(name) == value for name, value in self.of.items())


@dataclass(frozen=True)
class Environment:
    """What a process that ran a sweep depended on.

    Attributes:
        directory: The sweep's directory, absolute.
        data: Root of the datasets, absolute; None for the default.
        weights: Where to look for weights first, absolute; None for the default.
        system: Of the machine: kernel and architecture.
        device: Name of the processor or GPU that trials train on.
        versions: Of Python and packages.
        commit: Of the source that ran, where it was a git checkout or was installed from one.
        dirty: Whether that checkout had uncommitted changes.
        inputs: The datasets and weights.
        offset: Bytes of `trials.jsonl` that were there before: events behind them are its own.
    """

    directory: str
    data: str | None
    weights: str | None
    system: str
    device: str
    versions: dict[str, str]
    commit: str | None
    dirty: bool
    inputs: tuple[Input, ...] = field(default=())
    offset: int = 0

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Self:
        """Builds it from what JSON holds of it.

        Raises:
            TypeError: If keys are missing or unknown.
        """
        inputs = tuple(Input(**each) for each in values["inputs"])
        return cls(**{**values, "inputs": inputs})


def note_environment(directory: Path, environment: Environment) -> None:
    """Makes it durable that the events from now on belong to this environment.

    Only the process that holds the sweep's directory may call it.

    Raises:
        StorageError: If it cannot be written, or what is there is damaged.
    """
    noted = read_environments(directory)
    events = directory / EVENTS_FILE
    offset = events.stat().st_size if events.exists() else 0
    if noted and replace(environment, offset=noted[-1].offset) == noted[-1]:
        return  # resumed where and as it ran before
    noted.append(replace(environment, offset=offset))
    text = json.dumps([asdict(each) for each in noted], indent=1)
    write_atomically(directory / ENVIRONMENTS_FILE, text)


def read_environments(directory: Path) -> list[Environment]:
    """Returns the sweep's environments in the order of their events; none of an older sweep.

    Raises:
        StorageError: If the file is damaged.
    """
    path = directory / ENVIRONMENTS_FILE
    try:
        return [Environment.parse(values) for values in json.loads(path.read_text("utf-8"))]
    except FileNotFoundError:
        return []
    except (ValueError, TypeError, KeyError) as error:
        raise StorageError(
            f"{path} is damaged: {error}; restore the file from a backup, or remove it and go on "
            "without knowing what the earlier trials depended on"
        ) from None
