"""Memory that is really free, waited for, and really run out of."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from orchestrator.resources import admission
from orchestrator.resources.admission import (
    RanOutOfMemoryError,
    free_bytes,
    killed_for_memory,
    says_out_of_memory,
    wait_for_memory,
    watched_memory,
)
from tests.memory_faults import memory_group, run_in_group
from tinytl.errors import TrainingError

PIECE = 50_000_000
# a process that may have so much more, and what it says of each way to ask for too much
PROGRAM = f"""
import json, resource, sys
import numpy as np, torch
from orchestrator.resources.admission import RanOutOfMemoryError, says_out_of_memory, watched_memory
from orchestrator.resources.kernel import kernel_number
from pathlib import Path
before = kernel_number(Path("/proc/self/status"), "VmSize") * 1024
resource.setrlimit(resource.RLIMIT_AS, (before + 400_000_000, resource.RLIM_INFINITY))
asks = {{
    "torch": lambda: torch.empty(2**28),
    "python": lambda: bytearray(2**30),
    "numpy": lambda: np.zeros(2**28),
    "mmap": lambda: __import__("mmap").mmap(-1, 2**30),
    "convolution": lambda: torch.nn.Conv2d(8, 2048, 3)(torch.zeros(1, 8, 300, 300)),
}}
said = {{}}
for name, ask in asks.items():
    try:
        ask()
    except Exception as error:
        said[name] = [type(error).__name__, says_out_of_memory(error)]
kept = []
try:
    with watched_memory("cpu"):
        while True:
            kept.append(torch.ones({PIECE} // 4))
except RanOutOfMemoryError as error:
    said["reached"], said["text"] = error.reached_bytes, str(error)
said["kept"] = len(kept)
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def said() -> dict:
    output = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, check=True, text=True
    ).stdout
    return json.loads(output)


@pytest.mark.parametrize("way", ["torch", "python", "numpy", "mmap", "convolution"])
def test_whatever_runs_out_of_memory_is_known_by_what_it_says(way: str, said: dict) -> None:
    assert said[way][1], said[way]


def test_what_was_reached_is_measured(said: dict) -> None:
    """All pieces but the one that failed; the next one would not have fitted."""
    assert said["kept"] >= 3
    assert said["kept"] * PIECE <= said["reached"] + 1_000_000
    assert said["reached"] < 420_000_000
    assert said["text"].startswith("it ran out of memory on cpu when it had ")


OTHER = [ValueError("x"), OSError(28, "no space"), RuntimeError("the loss became nan"), KeyError(1)]


@pytest.mark.parametrize("error", OTHER, ids=str)
def test_other_errors_are_left_alone(error: Exception) -> None:
    assert not says_out_of_memory(error)
    with pytest.raises(type(error)), watched_memory("cpu"):
        raise error


def test_what_an_earlier_trial_reached_does_not_count() -> None:
    with watched_memory("cpu"):
        torch.ones(50 * 2**20)
    with pytest.raises(RanOutOfMemoryError) as caught, watched_memory("cpu"):
        raise MemoryError
    assert caught.value.reached_bytes < 10_000_000


def test_more_than_there_is_is_waited_for_and_then_refused() -> None:
    began = time.monotonic()
    with pytest.raises(TrainingError) as caught:
        wait_for_memory(10**15, "cpu", patience_seconds=0.3)
    assert 0.3 <= time.monotonic() - began < 5
    assert "1000000000 MB of memory must be free on cpu, but after 0.3 seconds" in str(caught.value)
    assert "search.workers" in str(caught.value)


def test_waiting_ends_as_soon_as_there_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    free = iter([1, 99, 100])
    monkeypatch.setattr(admission, "free_bytes", lambda device: next(free))
    wait_for_memory(100, "cpu")
    assert next(free, None) is None


GROUPS = {
    "v2": {"memory.max": "3000000", "memory.current": "2500000",
           "memory.stat": "anon 7\ninactive_file 500000\n"},
    "v1": {"memory/memory.limit_in_bytes": "3000000", "memory/memory.usage_in_bytes": "2500000",
           "memory/memory.stat": "inactive_file 1\ntotal_inactive_file 500000\n"},
    "full": {"memory.max": "3000000", "memory.current": "4000000", "memory.stat": ""},
    "unlimited": {"memory.max": "max"},
    "none": {},
}  # fmt: skip


@pytest.mark.parametrize(("group", "expected"), [("v2", 10**6), ("v1", 10**6), ("full", 0)])
def test_a_container_may_take_no_more_than_its_limit(
    group: str, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_group(tmp_path, group)
    monkeypatch.setattr(admission, "_GROUPS", tmp_path)
    assert free_bytes("cpu") == expected


@pytest.mark.parametrize("group", ["unlimited", "none"])
def test_without_a_limit_it_is_what_the_system_has(
    group: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_group(tmp_path, group)
    monkeypatch.setattr(admission, "_GROUPS", tmp_path)
    output = subprocess.run(["free", "-b", "-w"], capture_output=True, text=True, check=True).stdout
    available = int(output.splitlines()[1].split()[-1])
    assert free_bytes("cpu") == pytest.approx(available, rel=0.2)


def write_group(folder: Path, group: str) -> None:
    for name, text in GROUPS[group].items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


def test_the_kernel_tells_of_whom_it_killed() -> None:
    before = killed_for_memory()
    with memory_group(100_000_000) as group:
        status = run_in_group(group, "x = bytearray(b'1') * 400_000_000")
    assert status == -9
    assert killed_for_memory() > before


@pytest.mark.gpu
def test_a_gpu_that_is_full_is_measured_and_given_back(cuda: torch.device) -> None:
    total = torch.cuda.get_device_properties(0).total_memory
    kept = []
    with pytest.raises(RanOutOfMemoryError) as caught, watched_memory("cuda"):
        while True:
            kept.append(torch.empty(2**28, device="cuda"))
    assert len(kept) * 2**30 <= caught.value.reached_bytes <= total
    kept.clear()
    with watched_memory("cuda"):
        assert free_bytes("cuda") > 0.8 * total
    with pytest.raises(TrainingError, match="must be free on cuda"):
        wait_for_memory(total + 1, "cuda", patience_seconds=0.3)
