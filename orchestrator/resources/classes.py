"""What a trial asks of a machine: its predicted memory, rounded up to one of a few classes.

A process can be reused by the next trial only if that asks for exactly the same.
"""

import hashlib
import json
import sys
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import torch

from orchestrator.resources.base import measured_base_bytes
from tinytl.backbones.weights import weights_info
from tinytl.config import FinetuneConfig
from tinytl.engine.build import build_network, norm_of
from tinytl.engine.execute import plan
from tinytl.engine.measure import measure
from tinytl.engine.threads import using_threads
from tinytl.storage import cache_directory, library_digest, write_atomically

SMALLEST_CLASS_BYTES = 2**29
SMALLEST_GPU_SHARE = 1 / 16
# decoded images of a batch on their way into the network, and the evaluation's
LOADER_BYTES = 2**27
# of each node for Ray's objects: reports are small, and images never travel through Ray
OBJECT_STORE_BYTES = 2**27
# settings that a training step's memory depends on
_SHAPE = (
    "backbone",
    "method",
    "resolution",
    "batch_size",
    "execution",
    "memory_budget",
    "max_slowdown",
    "lite_residual",
    "sparse_update",
    "frozen_weights",
    "train_last",
    "optimizer",
)


def predicted_peak_bytes(
    config: FinetuneConfig,
    classes: int,
    device: str,
    threads: int,
    *,
    weights: Path | None = None,
) -> int:
    """Returns the `peak_bytes` that a trial of this configuration will measure.

    It is the plan's own where execution is planned. Otherwise one training step of the same shapes
    is measured. Either is done once: the number is kept in the cache directory, for the library as
    it is now.

    Args:
        config: The trial's configuration.
        classes: Outputs of its classifier.
        device: Where trials run.
        threads: Processors of each trial; kernels' scratch memory depends on them.
        weights: Where to look first for the files of specialized networks.

    Raises:
        ConfigError: If no plan keeps the configuration's bounds.
    """
    shape = config.model_dump(include=set(_SHAPE)) | {
        "norm": norm_of(config),
        "modules": weights_info(config.weights, config.backbone, config.norm).lite_residual,
        "classes": classes,
        "device": torch.device(device).type,
        "threads": threads,
        "torch": torch.__version__,
        "library": library_digest(),
    }

    def measured() -> int:
        with using_threads(threads), torch.random.fork_rng():
            built = build_network(config, classes, weights_directory=weights, pretrained=False)
            network = built.network.to(device)
            if config.execution == "planned":
                return plan(network, config).peak_bytes
            return measure(network, config).peak_bytes

    return _cached(shape, measured)


@lru_cache(maxsize=2)
def process_bytes(device: str) -> int:
    """Returns what a process takes on a device before its first trial; measured once for each."""
    kind = torch.device(device).type
    name = "cpu" if kind == "cpu" else torch.cuda.get_device_name()
    key: dict[str, object] = {
        "process": sys.version,
        "torch": torch.__version__,
        "device": name,
        "library": library_digest(),
    }
    return _cached(key, lambda: measured_base_bytes(kind))


def needed_bytes(peak_bytes: int, device: str) -> int:
    """Returns what a trial needs in a process that is there.

    On the processor that is its predicted peak and the loader's buffers, which are never on a GPU.
    """
    return peak_bytes + (LOADER_BYTES if device == "cpu" else 0)


def memory_class_bytes(peak_bytes: int, *, larger: bool = False) -> int:
    """Returns the main memory that a trial's process asks for: a power of two.

    Args:
        peak_bytes: Predicted.
        larger: Ask for the class above that which is large enough.
    """
    needed = needed_bytes(peak_bytes, "cpu") + process_bytes("cpu")
    size = SMALLEST_CLASS_BYTES
    while size < needed:
        size *= 2
    return 2 * size if larger else size


def gpu_share(peak_bytes: int, gpu_bytes: int, *, larger: bool = False) -> float:
    """Returns the share of a GPU that a trial's process asks for: 1, 1/2, 1/4 ...

    It is above 1 where the GPU is too small.

    Args:
        peak_bytes: Predicted.
        gpu_bytes: The GPU's memory.
        larger: Ask for the class above that which is large enough, at most the whole GPU.
    """
    needed = needed_bytes(peak_bytes, "cuda") + process_bytes("cuda")
    share = SMALLEST_GPU_SHARE
    while share < needed / gpu_bytes:
        share *= 2
    return min(1.0, 2 * share) if larger else share


def _cached(key: dict[str, object], measure_bytes: Callable[[], int]) -> int:
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:24]
    path: Path = cache_directory() / "measured" / f"{digest}.json"
    if path.exists():
        return int(json.loads(path.read_text())["bytes"])
    value = measure_bytes()
    write_atomically(path, json.dumps({"bytes": value, "of": key}))
    return value
