"""What happens to the trials of a sweep: append-only events, a line of JSON each."""

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from tinytl.errors import StorageError

EVENTS_FILE = "trials.jsonl"

State = Literal["complete", "stopped", "infeasible", "failed"]


@dataclass(frozen=True)
class Asked:
    """A study suggested a trial.

    Attributes:
        trial: Unique name of the trial within the sweep, `<study>-<number>`.
        study: The dataset whose study suggested it.
        number: Counts the study's trials from 0; that of the confirmed trial where it confirms one.
        params: Flat parameter names and values.
        predicted_bytes: Predicted `peak_bytes`, or None where nothing was predicted.
        confirms: The trial of a front that this one trains again with another seed; None for the
            study's own trials.
    """

    kind: ClassVar[str] = "asked"
    trial: str
    study: str
    number: int
    params: dict[str, Any]
    predicted_bytes: int | None = None
    confirms: str | None = None
    time: float = field(default_factory=time.time)


@dataclass(frozen=True)
class Reported:
    """A trial finished an epoch (counted from 1)."""

    kind: ClassVar[str] = "reported"
    trial: str
    epoch: int
    metrics: dict[str, float]
    time: float = field(default_factory=time.time)


@dataclass(frozen=True)
class Told:
    """A trial ended.

    Attributes:
        trial: The trial's name.
        state: `complete` at full fidelity; `stopped` by the scheduler before that; `infeasible`
            where it broke a limit; `failed` where it raised.
        metrics: The trial's final metrics, as far as it got.
        reason: Why it did not complete, in one sentence.
    """

    kind: ClassVar[str] = "told"
    trial: str
    state: State
    metrics: dict[str, float]
    reason: str | None = None
    time: float = field(default_factory=time.time)


Event = Asked | Reported | Told
_EVENTS: dict[str, type[Asked] | type[Reported] | type[Told]] = {
    event.kind: event for event in (Asked, Reported, Told)
}


def encode(event: Event) -> str:
    """Returns the event as one line of JSON."""
    return json.dumps({"kind": event.kind, **asdict(event)}, separators=(",", ":"))


def decode(line: str) -> Event:
    """Returns the event of one line of JSON.

    Raises:
        ValueError: If the line is not an event.
    """
    values = json.loads(line)
    if not isinstance(values, dict) or values.get("kind") not in _EVENTS:
        raise ValueError(f"not an event: {line[:80]!r}")
    try:
        return _EVENTS[values.pop("kind")](**values)
    except TypeError as error:
        raise ValueError(f"not an event: {error}") from None


def read_events(directory: Path, start: int = 0) -> Iterator[tuple[Event, int]]:
    """Yields each whole event from byte offset `start` on, with the offset behind it.

    A torn last line, left by a process that died while writing, ends the iteration.

    Raises:
        StorageError: If a line in the middle is not an event.
    """
    path = directory / EVENTS_FILE
    if not path.exists():
        return
    with path.open("rb") as file:
        offset = file.seek(start)
        for line in file:
            if not line.endswith(b"\n"):
                return
            try:
                event = decode(line.decode())
            except ValueError as error:
                raise StorageError(
                    f"{path} is damaged at byte {offset}: {error}; restore the file from a backup, "
                    "or start the sweep in a new directory"
                ) from None
            offset += len(line)
            yield event, offset
