"""Many pieces of bytes in one file, one behind the other, mapped into memory to be read."""

import os
import warnings
from collections.abc import Callable, Sequence
from contextlib import closing
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tinytl.data.pipeline.ahead import ahead
from tinytl.storage import not_written

Buffer = bytes | memoryview
_CHUNK = 32  # pieces that a thread writes before it reports


class Container:
    """A file of N pieces, whose lengths are known before it is written.

    Attributes:
        path: The file.
        offsets: Where each piece begins, and where the last one ends; N + 1 numbers.
    """

    def __init__(self, path: Path, lengths: Sequence[int]) -> None:
        self.path = path
        self.offsets = [0, *accumulate(lengths)]

    @property
    def size_bytes(self) -> int:
        """The size of the file."""
        return self.offsets[-1]

    @property
    def is_built(self) -> bool:
        """Whether the file is there."""
        return self.path.is_file() and self.path.stat().st_size == self.size_bytes

    def build(self, piece: Callable[[int], Buffer], on_progress: Callable[[int], None]) -> None:
        """Writes the file, which has its name only when it is whole.

        Args:
            piece: Returns a piece by its number, of the length that it was said to have; called by
                several threads at once.
            on_progress: Told how many pieces are written.

        Raises:
            StorageError: If the file cannot be written, for example because the disk is full.
        """
        partial = self.path.with_name(self.path.name + ".partial")
        try:
            partial.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                # room for all of it, so that a disk too small is known before the work is done
                if hasattr(os, "posix_fallocate"):  # not everywhere
                    os.posix_fallocate(file.fileno(), 0, self.size_bytes)
                self._fill(file.fileno(), piece, on_progress)
                os.fsync(file.fileno())
            partial.replace(self.path)
        except OSError as error:
            raise not_written(self.path, error) from None
        finally:
            partial.unlink(missing_ok=True)

    def map(self) -> Tensor:
        """Returns the file as uint8 [size], read from the disk where and when it is looked at."""
        with warnings.catch_warnings():
            # torch has no tensors that are read-only; nothing writes to this one
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            return torch.from_numpy(np.memmap(self.path, np.uint8, "r"))

    def _fill(
        self, file: int, piece: Callable[[int], Buffer], on_progress: Callable[[int], None]
    ) -> None:
        count = len(self.offsets) - 1

        def write(first: int) -> int:
            last = min(first + _CHUNK, count)
            for number in range(first, last):
                _write(file, piece(number), self.offsets[number])
            return last

        threads = os.cpu_count() or 1
        with closing(
            ahead(write, range(0, count, _CHUNK), threads=threads, depth=2 * threads)
        ) as written:
            for done in written:
                on_progress(done)


def _write(file: int, content: Buffer, offset: int) -> None:
    left = memoryview(content).cast("B")
    while left:
        count = os.pwrite(file, left, offset)
        left, offset = left[count:], offset + count
