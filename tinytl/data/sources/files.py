"""The files of a dataset, in a folder or in a zip archive that is never extracted."""

import os
import zipfile
import zlib
from pathlib import Path
from typing import Any, Protocol

from tinytl.errors import DataError

DEPTH = 5
"""Levels of a folder that are listed: wrapping folder / release / images / class / image."""


class Files(Protocol):
    """A listing of files, each of which can be read.

    Attributes:
        location: The folder or archive.
        names: Relative paths with forward slashes, sorted; hidden files are left out.
        folders: Relative paths of the folders, the files' own and empty ones; `""` is not in it.
    """

    location: Path
    names: tuple[str, ...]
    folders: frozenset[str]

    def read(self, name: str) -> bytes:
        """Returns the content of one file.

        Raises:
            DataError: If it cannot be read.
        """


def open_files(location: Path) -> Files:
    """Lists the folder or zip archive at `location`.

    Raises:
        DataError: If there is none, or it cannot be listed.
    """
    return FolderFiles(location) if location.is_dir() else ZipFiles(location)


class FolderFiles:
    """The files of a folder, `DEPTH` levels deep; links are followed."""

    def __init__(self, location: Path) -> None:
        self.location = location
        names: list[str] = []
        folders: list[str] = []
        for path, below, files in os.walk(location, followlinks=True, onerror=self._not_listed):
            parent = Path(path).relative_to(location)
            below[:] = [name for name in below if not _hidden(name)]
            folders += [(parent / name).as_posix() for name in below]
            names += [(parent / name).as_posix() for name in files if not _hidden(name)]
            if len(parent.parts) == DEPTH - 1:
                below.clear()
        self.names = tuple(sorted(names))
        self.folders = frozenset(folders)

    def read(self, name: str) -> bytes:
        """Returns the content of one file."""
        try:
            return (self.location / name).read_bytes()
        except OSError as error:
            raise DataError(
                f"cannot read {self.location / name}: {error.strerror}; bring the file back or "
                "correct its permissions"
            ) from None

    def _not_listed(self, error: OSError) -> None:
        raise DataError(
            f"cannot list {error.filename}: {error.strerror}; correct the folder's permissions"
        )


class ZipFiles:
    """The members of a zip archive, read one by one.

    Every process opens the archive for itself, so that workers may inherit or unpickle this.
    """

    def __init__(self, location: Path) -> None:
        self.location = location
        self._opened: tuple[int, zipfile.ZipFile] | None = None
        names: set[str] = set()
        folders: set[str] = set()
        for member in self._archive().namelist():
            parts = [part for part in member.split("/") if part]
            if not parts or any(_hidden(part) for part in parts):
                continue
            if not member.endswith("/"):
                names.add(member)
                parts.pop()
            folders.update("/".join(parts[:depth]) for depth in range(1, len(parts) + 1))
        self.names = tuple(sorted(names))
        self.folders = frozenset(folders)

    def read(self, name: str) -> bytes:
        """Returns the content of one member."""
        try:
            return self._archive().read(name)
        # A RuntimeError is an encrypted member, or one compressed in a way unknown here.
        except (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
            raise DataError(
                f"cannot read {name} in {self.location}: {error}; pack the archive anew, or take "
                "another copy"
            ) from None

    def _archive(self) -> zipfile.ZipFile:
        process = os.getpid()
        if self._opened is None or self._opened[0] != process:
            try:
                self._opened = process, zipfile.ZipFile(self.location)
            except zipfile.BadZipFile as error:
                raise DataError(
                    f"{self.location} is not a whole zip archive ({error}); take another copy, or "
                    "give a folder of class folders"
                ) from None
            except OSError as error:
                raise DataError(
                    f"cannot open {self.location}: {error.strerror}; give a folder of class "
                    "folders, or the .zip of one"
                ) from None
        return self._opened[1]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"
