"""The memory that is really free where a trial runs: waited for, given back, and run out of.

What trials ask of Ray are numbers in a ledger, which knows nothing of other programs and nothing of
a prediction that was too low. So each trial looks for itself before it begins.
"""

import ctypes
import errno
import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from orchestrator.resources.kernel import kernel_number
from tinytl.errors import TrainingError

PATIENCE_SECONDS = 600.0  # until the memory that a trial needs is free
_SECONDS_BETWEEN_LOOKS = 0.2
_GROUPS = Path("/sys/fs/cgroup")
# limit, use, and what of the use are files that can be dropped; of both generations
_GROUP_FILES = (
    ("memory.max", "memory.current", "memory.stat", "inactive_file"),
    (
        "memory/memory.limit_in_bytes",
        "memory/memory.usage_in_bytes",
        "memory/memory.stat",
        "total_inactive_file",
    ),
)
# what PyTorch, C++ and oneDNN say; Python and CUDA have types of their own
_TEXTS = ("DefaultCPUAllocator", "bad_alloc", "could not create a primitive")


class RanOutOfMemoryError(TrainingError):
    """A trial asked for memory that there was not.

    Attributes:
        reached_bytes: The most that the trial had by then.
    """

    def __init__(self, text: str, reached_bytes: int) -> None:
        super().__init__(text, reached_bytes)
        self.text = text
        self.reached_bytes = reached_bytes

    def __str__(self) -> str:
        return self.text


def wait_for_memory(
    needed_bytes: int, device: str, patience_seconds: float = PATIENCE_SECONDS
) -> None:
    """Returns as soon as so many bytes are free.

    Raises:
        TrainingError: If they are not after so many seconds.
    """
    deadline = time.monotonic() + patience_seconds
    while (free := free_bytes(device)) < needed_bytes:
        if time.monotonic() > deadline:
            raise TrainingError(
                f"{needed_bytes / 1e6:.0f} MB of memory must be free on {device}, but after "
                f"{patience_seconds:g} seconds there are {free / 1e6:.0f} MB; end what else uses "
                "it, or run fewer trials at once (search.workers)"
            )
        time.sleep(_SECONDS_BETWEEN_LOOKS)


def free_bytes(device: str) -> int:
    """Returns the memory that is free: the device's, or what a container may still take."""
    if device != "cpu":
        free: int = torch.cuda.mem_get_info(device)[0]
        return free
    available = kernel_number(Path("/proc/meminfo"), "MemAvailable") * 1024
    return max(0, min([available, *_left_in_groups()]))


@contextmanager
def watched_memory(device: str) -> Iterator[None]:
    """Gives back what earlier trials left, and says how much there was where it runs out.

    Raises:
        RanOutOfMemoryError: In place of whatever says that there is no memory.
    """
    before = _begin(device)
    try:
        yield
    except Exception as error:
        if not says_out_of_memory(error):
            raise
        reached = max(0, _highest_bytes(device) - before)
        raise RanOutOfMemoryError(
            f"it ran out of memory on {device} when it had {reached / 1e6:.0f} MB "
            f"({' '.join(str(error).split()) or type(error).__name__})",
            reached,
        ) from None


def says_out_of_memory(error: Exception) -> bool:
    """Returns whether an error says that memory could not be had."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    if isinstance(error, RuntimeError) and any(text in str(error) for text in _TEXTS):
        return True
    return isinstance(error, MemoryError | torch.OutOfMemoryError)


def killed_for_memory() -> int:
    """Returns how many processes the kernel has killed on this machine for want of memory."""
    return kernel_number(Path("/proc/vmstat"), "oom_kill")


def _begin(device: str) -> int:
    """Returns the bytes in use once what earlier trials left is given back."""
    gc.collect()
    if device != "cpu":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        allocated: int = torch.cuda.memory_allocated(device)
        return allocated
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the highest use is counted anew
    return kernel_number(Path("/proc/self/status"), "VmRSS") * 1024


def _highest_bytes(device: str) -> int:
    if device != "cpu":
        highest: int = torch.cuda.max_memory_allocated(device)
        return highest
    return kernel_number(Path("/proc/self/status"), "VmHWM") * 1024


def _left_in_groups() -> Iterator[int]:
    for limit, used, stat, dropped in _GROUP_FILES:
        bound = _GROUPS / limit
        if bound.exists() and (text := bound.read_text().strip()) != "max":
            in_use = int((_GROUPS / used).read_text()) - kernel_number(_GROUPS / stat, dropped)
            yield int(text) - in_use
