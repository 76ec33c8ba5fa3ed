"""What a process of trials takes before the first one: torch, its kernels, Ray, a CUDA context.

    python -m orchestrator.resources.base cpu|cuda

is such a process. It trains one small step, says that it is ready and waits.
"""

import subprocess
import sys
from pathlib import Path

import torch

from orchestrator.resources.kernel import kernel_number


def measured_base_bytes(device: str) -> int:
    """Returns the memory that such a process takes on a device, `cpu` or `cuda`.

    Main memory is what is the process's own; files that are mapped into it, such as libraries, all
    processes share. On a GPU it is all but what torch keeps for tensors.
    """
    free = 0 if device == "cpu" else torch.cuda.mem_get_info()[0]
    run = [sys.executable, "-m", __name__, device]
    with subprocess.Popen(  # noqa: S603
        run, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        output = process.stdout
        said = int(output.readline()) if output is not None else 0
        taken = said if device == "cpu" else free - torch.cuda.mem_get_info()[0] - said
        process.communicate()  # its input ends, and with it the process
    return taken


def _train_a_step(device: str) -> None:
    from tinytl.config import FinetuneConfig
    from tinytl.engine.build import build_network
    from tinytl.engine.measure import measure

    config = FinetuneConfig(
        dataset="digits",
        backbone="proxyless_tiny",
        weights="random",
        method="full",
        resolution=32,
        batch_size=2,
    )
    measure(build_network(config, 10).network.to(device), config)


def main() -> None:
    """Trains a step, prints its own bytes, or on a GPU torch's for tensors, and waits."""
    (device,) = sys.argv[1:]
    from orchestrator.backends import ray  # noqa: F401  (what a trial's process imports)

    _train_a_step(device)
    if device == "cpu":  # what is in no file
        said = kernel_number(Path("/proc/self/status"), "RssAnon") * 1024
    else:
        said = torch.cuda.memory_reserved()
    sys.stdout.write(f"{said}\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main()
