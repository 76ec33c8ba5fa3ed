"""Files of tensors and plain values: written atomically, read without running any code."""

import os
import pickle
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import torch

from tinytl.errors import StorageError


def write_tensors(path: Path, state: dict[str, Any]) -> None:
    """Writes tensors and plain values so that a reader sees the old file or the new one.

    Raises:
        StorageError: If it cannot be written, for example because the disk is full.
    """
    partial_path = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial_path.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        partial_path.replace(path)
    except (OSError, RuntimeError) as error:  # torch's writer reports a full disk as the latter
        partial_path.unlink(missing_ok=True)
        raise StorageError(
            f"cannot write {path}: {error}; free some space or correct the permissions"
        ) from None


def read_tensors(path: Path, device: torch.device) -> dict[str, Any]:
    """Reads what `write_tensors` wrote; nothing but tensors and plain values is accepted.

    Raises:
        StorageError: If the file is damaged.
    """
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, BadZipFile, pickle.UnpicklingError):
        raise StorageError(
            f"cannot read the checkpoint {path}: it is damaged; remove it to start the run anew"
        ) from None
