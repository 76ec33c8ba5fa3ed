"""The built-in task's source model: a small backbone pre-trained on rendered digits.

Nothing is downloaded: the digits are drawn from the fonts that ship inside matplotlib, and the
model is trained once and kept in the cache directory.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from tinytl.backbones.weights import weights_info
from tinytl.checkpoint import read_tensors, write_tensors
from tinytl.config import FinetuneConfig
from tinytl.engine.build import build_network
from tinytl.engine.threads import using_threads
from tinytl.finetune import CHECKPOINT, EpochReport, finetune
from tinytl.storage import cache_directory, locked

WEIGHTS_NAME = "rendered_digits"
SOURCE = FinetuneConfig(
    dataset="rendered_digits",
    backbone="proxyless_tiny",
    method="full",
    weights="random",
    resolution=48,
    batch_size=32,
    execution="plain",
    learning_rate=4e-3,
    epochs=3,
    dropout=0.0,
    crop_scale=0.6,
    validation=0.0,
)


def weights_path() -> Path:
    """Returns where the source model is kept."""
    return cache_directory() / "weights" / weights_info(WEIGHTS_NAME, SOURCE.backbone).file


def build_weights(on_epoch: Callable[[EpochReport], None] | None = None) -> Path:
    """Pre-trains the source model unless it is there already; safe when several start at once.

    Returns:
        The path of the weights file.

    Raises:
        StorageError: If it cannot be written.
    """
    path = weights_path()
    with locked(path):
        if not path.exists():
            # more threads do not help so small a network, and fight for busy processors
            with tempfile.TemporaryDirectory() as directory, using_threads(1):
                finetune(SOURCE, directory=Path(directory), on_epoch=on_epoch)
                trained = read_tensors(Path(directory) / CHECKPOINT, torch.device("cpu"))
            network = build_network(SOURCE, classes=10).network
            write_tensors(path, {**network.state_dict(), **trained["trained"]})
    return path
