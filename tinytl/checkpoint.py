"""Files of tensors and plain values: written atomically, read without running any code."""

import io
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tinytl.errors import StorageError, WeightsError
from tinytl.storage import write_atomically


def write_tensors(path: Path, state: dict[str, Any]) -> None:
    """Writes tensors and plain values so that a reader sees the old file or the new one.

    Raises:
        StorageError: If it cannot be written, for example because the disk is full.
    """
    # into memory, for torch's own writer does not say why it cannot write to a file
    content = io.BytesIO()
    torch.save(state, content)
    write_atomically(path, content.getvalue())


def load_tensors(path: Path, device: torch.device) -> Any:
    """Reads a file of tensors and plain values, whoever wrote it; no code in it is run.

    Raises:
        OSError: If the file cannot be opened.
        ValueError: If it is damaged, or holds anything else.
        WeightsError: If it is a safetensors file, and that package is not installed.
    """
    try:
        if path.suffix == ".safetensors":
            return _load_safetensors(path, device)
        with warnings.catch_warnings(action="ignore"):  # of a strange file, which is refused anyway
            return torch.load(path, map_location=device, weights_only=True)
    except (OSError, WeightsError):
        raise
    except Exception:  # damaged bytes raise nearly anything in the unpickler
        raise ValueError("it is damaged, or holds more than tensors and plain values") from None


def _load_safetensors(path: Path, device: torch.device) -> dict[str, Tensor]:
    try:
        from safetensors.torch import load_file
    except ImportError:
        raise WeightsError(
            f"{path} is a safetensors file, which takes the package safetensors to read: "
            "pip install safetensors"
        ) from None
    return load_file(path, device=str(device))


def read_tensors(path: Path, device: torch.device) -> dict[str, Any]:
    """Reads what `write_tensors` wrote.

    Raises:
        StorageError: If the file is damaged.
    """
    try:
        state = load_tensors(path, device)
    except (OSError, ValueError):
        state = None
    if not isinstance(state, dict):
        raise StorageError(
            f"cannot read the checkpoint {path}: it is damaged; remove it to start the run anew"
        )
    return state
