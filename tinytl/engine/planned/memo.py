"""Numbers that were measured once, kept for all processes on this machine."""

import hashlib
import json
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import torch

from tinytl.errors import StorageError
from tinytl.storage import cache_directory, library_digest, locked, write_atomically


class Memo:
    """Bytes by what they were measured of, in a file of the cache directory.

    It is for the library and torch as they are now. A directory that cannot be written to costs
    the time to measure again, nothing else.
    """

    def __init__(self) -> None:
        self._new: dict[str, int] = {}

    def get(self, key: object, measure: Callable[[], int]) -> int:
        """Returns the number of `key`, an object whose text says all that it depends on."""
        name = hashlib.sha256(str(key).encode()).hexdigest()[:24]
        known = self._known.get(name)
        if known is None:
            known = self._known[name] = self._new[name] = measure()
        return known

    def save(self) -> None:
        """Adds what is new to the file."""
        if not self._new:
            return
        try:
            with locked(self._path):
                write_atomically(self._path, json.dumps(_read(self._path) | self._new))
        except StorageError:
            return
        self._new.clear()

    @cached_property
    def _known(self) -> dict[str, int]:
        return _read(self._path)

    @cached_property
    def _path(self) -> Path:
        machine = torch.backends.cpu.get_cpu_capability()
        if torch.cuda.is_available():
            machine += torch.cuda.get_device_name()
        of = f"{library_digest()} {torch.__version__} {machine}"
        digest = hashlib.sha256(of.encode()).hexdigest()[:24]
        return cache_directory() / "measured" / f"blocks-{digest}.json"


def _read(path: Path) -> dict[str, int]:
    try:
        numbers: dict[str, int] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # not there yet, or damaged: measured again
        return {}
    return numbers
