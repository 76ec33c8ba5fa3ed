"""What a trial asks of a machine: its predicted memory, rounded up to one of a few classes."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import torch

import tinytl
from tinytl.backbones.weights import weights_info
from tinytl.config import FinetuneConfig
from tinytl.engine.build import build_network, norm_of
from tinytl.engine.execute import plan
from tinytl.engine.measure import measure
from tinytl.engine.threads import using_threads
from tinytl.storage import cache_directory, write_atomically

SMALLEST_CLASS_BYTES = 2**29
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


@lru_cache(maxsize=1)
def library_digest() -> str:
    """Returns what changes with the library's source, on which a training step's memory depends."""
    folder = Path(tinytl.__path__[0])
    files = sorted(file for file in folder.rglob("*.*") if file.suffix in (".py", ".cpp", ".h"))
    contents = ((str(file.relative_to(folder)), file.read_bytes()) for file in files)
    return hashlib.sha256(repr(list(contents)).encode()).hexdigest()


@lru_cache(maxsize=1)
def process_bytes() -> int:
    """Returns the resident memory of a process that has imported the library and does nothing."""
    return _cached({"process": sys.version, "torch": torch.__version__}, _measured_process_bytes)


def _measured_process_bytes() -> int:
    program = (
        "import resource, tinytl.finetune;"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)"
    )
    run = [sys.executable, "-c", program]
    return int(subprocess.run(run, capture_output=True, check=True, text=True).stdout)  # noqa: S603


def memory_class_bytes(peak_bytes: int) -> int:
    """Returns the memory that a trial's process asks for.

    Predicted peak, the base of a process and the loader's buffers, rounded up to a power of two: a
    process can be reused by the next trial only if that asks for exactly the same.
    """
    needed = peak_bytes + process_bytes() + LOADER_BYTES
    size = SMALLEST_CLASS_BYTES
    while size < needed:
        size *= 2
    return size


def _cached(key: dict[str, object], measure_bytes: Callable[[], int]) -> int:
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:24]
    path: Path = cache_directory() / "measured" / f"{digest}.json"
    if path.exists():
        return int(json.loads(path.read_text())["bytes"])
    value = measure_bytes()
    write_atomically(path, json.dumps({"bytes": value, "of": key}))
    return value
