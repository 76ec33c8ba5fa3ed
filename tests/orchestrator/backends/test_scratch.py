"""Directories of clusters on this machine: removed at the end, or by the next one."""

import signal
import subprocess
import sys
from pathlib import Path

from orchestrator.backends.scratch import scratch_directory

DRIVER = """
import sys
from pathlib import Path
from orchestrator.backends.scratch import scratch_directory
with scratch_directory(Path(sys.argv[1])) as directory:
    print(directory, flush=True)
    sys.stdin.read()
"""


def test_it_is_removed_at_the_end(tmp_path: Path) -> None:
    with scratch_directory(tmp_path) as one, scratch_directory(tmp_path) as other:
        (one / "session").mkdir()
        assert one != other and one.exists()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_driver_left_is_removed_and_what_a_living_one_has_is_kept(
    tmp_path: Path,
) -> None:
    drivers = [
        subprocess.Popen(
            [sys.executable, "-c", DRIVER, str(tmp_path)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for _ in range(2)
    ]  # fmt: skip
    killed, kept = (Path(driver.stdout.readline().strip()) for driver in drivers)
    drivers[0].send_signal(signal.SIGKILL)
    drivers[0].wait()
    unlocked = tmp_path / "tinytl-ray-new"
    unlocked.mkdir()  # somebody has only just made it
    with scratch_directory(tmp_path):
        assert not killed.exists()
        assert kept.exists() and unlocked.exists()
    drivers[1].communicate("")
    assert not kept.exists()
