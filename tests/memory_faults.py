"""Processes that the kernel kills for want of memory, for real."""

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_LIMITS = {  # where the kernel's groups are mounted: the file that holds their limit
    Path("/sys/fs/cgroup/memory"): "memory.limit_in_bytes",
    Path("/sys/fs/cgroup"): "memory.max",
}


@contextmanager
def memory_group(limit_bytes: int) -> Iterator[Path]:
    """A group whose processes together may have so much; skips where none can be made."""
    for root, limit in _LIMITS.items():
        group = root / f"tinytl-test-{uuid.uuid4().hex[:8]}"
        try:
            group.mkdir()
            (group / limit).write_text(str(limit_bytes))
        except OSError:
            if group.exists():
                group.rmdir()
            continue
        try:
            yield group
        finally:
            group.rmdir()
        return
    pytest.skip("needs a memory control group of its own: run as root with a writable cgroup")


def join(group: Path) -> None:
    """Puts this process into the group."""
    (group / "cgroup.procs").write_text(str(os.getpid()))


def run_in_group(group: Path, program: str) -> int:
    """Runs a Python program in the group and returns its exit status."""
    run = [sys.executable, "-c", program]
    return subprocess.run(run, preexec_fn=lambda: join(group), check=False).returncode
