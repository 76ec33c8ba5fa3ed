"""A dataset's release: the files its archives unpack to, wherever they are wrapped."""

import io
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tinytl.data.images import Parts
from tinytl.data.sources.files import Files
from tinytl.data.sources.folder import FileImages, read_class_folders
from tinytl.errors import DataError

Reader = Callable[[Files], Parts]


class Tree:
    """The files of a release, by their path in it.

    Attributes:
        files: Where they lie.
        base: What wraps the release there, with a slash, or nothing.
    """

    def __init__(self, files: Files, base: str) -> None:
        self.files = files
        self.base = base
        self._names = frozenset(files.names)

    def lines(self, path: str) -> list[str]:
        """Returns the lines of a text file that are not empty.

        Raises:
            DataError: If it cannot be read or has none.
        """
        text = self._read(path).decode(errors="replace")
        lines = [stripped for line in text.splitlines() if (stripped := line.strip())]
        if not lines:
            raise self.damaged(path, "it is empty")
        return lines

    def rows(self, path: str, columns: int) -> list[list[str]]:
        """Returns the lines of a text file in columns; the last may have blanks in it.

        Raises:
            DataError: If it cannot be read, or a line has fewer columns.
        """
        rows = [line.split(maxsplit=columns - 1) for line in self.lines(path)]
        for row in rows:
            if len(row) < columns:
                raise self.damaged(path, f"a line must have {columns} columns, but is {row!r}")
        return rows

    def numbers(self, path: str, values: Iterable[Any]) -> np.ndarray:
        """Returns whole numbers that were read from a file, int64 [N].

        Raises:
            DataError: If one of them is none.
        """
        try:
            return np.array([int(value) for value in values], np.int64)
        except (TypeError, ValueError) as error:
            raise self.damaged(path, str(error)) from None

    def matlab(self, path: str, key: str) -> np.ndarray:
        """Returns one array [N] of a MATLAB file.

        Raises:
            DataError: If the file is damaged or has no such array.
        """
        from scipy.io import loadmat  # slow to import, and only needed here

        content = self._read(path)
        try:
            values: dict[str, Any] = loadmat(io.BytesIO(content), squeeze_me=True)
        except Exception as error:  # whatever its parts raise on a damaged file
            raise self.damaged(path, str(error) or type(error).__name__) from None
        if key not in values:
            raise self.damaged(path, f"it has no {key!r}")
        return np.atleast_1d(values[key])

    def images(self, listing: str, names: Sequence[str], labels: Tensor) -> FileImages:
        """Returns the images with these paths.

        Args:
            listing: The file that lists them, for the text of an error.
            names: N paths.
            labels: int64 [N], or uint8 [N, K].

        Raises:
            DataError: If there are none, or some are missing.
        """
        if not names:
            raise self.damaged(listing, "it lists no images")
        missing = [name for name in names if self.base + name not in self._names]
        if missing:
            raise DataError(
                f"{self.files.location} lacks {len(missing):,} of the {len(names):,} images that "
                f"{listing} lists, the first of them {self.base}{missing[0]}; unpack the archive "
                "with the images anew"
            )
        return FileImages(self.files, tuple(self.base + name for name in names), labels)

    def labels(self, listing: str, values: Iterable[Any], classes: int) -> Tensor:
        """Turns class numbers that count from 1 into labels, int64 [N].

        Raises:
            DataError: If there is no such class.
        """
        labels = torch.from_numpy(self.numbers(listing, values)) - 1
        for label in labels[(labels < 0) | (labels >= classes)].tolist():
            raise self.damaged(listing, f"it has the label {label + 1}, but there are {classes}")
        return labels

    def _read(self, path: str) -> bytes:
        if self.base + path not in self._names:
            raise lacking(self.files, [self.base + path])
        return self.files.read(self.base + path)

    def damaged(self, path: str, why: str) -> DataError:
        """Returns the error for a file that is not what it must be."""
        return DataError(
            f"{self.base}{path} in {self.files.location} is damaged: {why}; unpack its archive anew"
        )


def lacking(files: Files, names: Iterable[str]) -> DataError:
    """Returns the error for files of a release that are missing."""
    return DataError(
        f"{files.location} lacks {', '.join(names)} of the official release; unpack all of its "
        "archives there"
    )


def layout(
    *listings: str, otherwise: Reader = read_class_folders
) -> Callable[[Callable[[Tree], Parts]], Reader]:
    """Makes a reader of a release out of one of its tree.

    Args:
        listings: The files that list its images. Where none of them is found, it is no release.
        otherwise: Reads what is no release.
    """

    def decorate(read: Callable[[Tree], Parts]) -> Reader:
        def read_either(files: Files) -> Parts:
            found = [
                name.removesuffix(listing)
                for name in files.names
                for listing in listings
                if f"/{name}".endswith(f"/{listing}")
            ]
            if not found:
                return otherwise(files)
            base = min(found, key=lambda base: (len(base), base))
            if missing := [base + name for name in listings if base + name not in files.names]:
                raise lacking(files, missing)
            return read(Tree(files, base))

        return read_either

    return decorate
