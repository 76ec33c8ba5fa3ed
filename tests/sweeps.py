"""A sweep of seconds for tests, run in this process or in one that can be killed."""

import io
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import IO, Any

import pytest
from rich.console import Console

from orchestrator.launch import Launch, launch
from orchestrator.record import Reported, Told, read_events
from orchestrator.spec import SweepSpec

SWEEP = {
    "name": "tiny",
    "datasets": ["digits"],
    "objectives": {"val_accuracy": "max", "peak_bytes": "min"},
    "params": {
        "backbone": "proxyless_tiny",
        "method": ["last", "tinytl-bias", "tinytl-lite_residual+bias", "full"],
        "resolution": [24, 32],
        "batch_size": 4,
        "lite_residual": {"width": {"per_stage": [0, 1]}, "kernel_size": 3},
    },
    "train": {
        "epochs": 2, "weights": "random", "validation": 0.2, "train_images": 24, "eval_images": 20,
    },
    "search": {"sampler": "random", "trials": 5, "workers": 2},
}  # fmt: skip


def spec(**sections: Any) -> SweepSpec:
    """The sweep with other settings; None removes one."""
    merged: dict = dict(SWEEP)
    for name, settings in sections.items():
        if not isinstance(settings, dict):
            merged[name] = settings
            continue
        section = {**merged.get(name, {}), **settings}
        merged[name] = {key: value for key, value in section.items() if value is not None}
    return SweepSpec.parse(merged)


def run(
    directory: Path, backend: str, *, resume: bool = False, log: IO[str] | None = None,
    **sections: Any,
) -> bool:  # fmt: skip
    how = Launch(directory, resume=resume, backend=backend)
    return launch(spec(**sections), how, Console(file=log or io.StringIO()))


def events(directory: Path) -> list:
    return [event for event, _ in read_events(directory)]


def states(directory: Path) -> Counter:
    told = [event for event in events(directory) if isinstance(event, Told)]
    assert len({event.trial for event in told}) == len(told), "a trial was told twice"
    return Counter(event.state for event in told)


DRIVER = """
import sys
sys.path.insert(0, {root!r})
from pathlib import Path
from tests.sweeps import run
run(Path(sys.argv[1]), sys.argv[2], train={{"epochs": 6, "train_images": 60}}, resume=False)
"""


def start_driver(directory: Path, backend: str) -> subprocess.Popen:
    program = DRIVER.format(root=str(Path(__file__).parents[1]))
    return subprocess.Popen(
        [sys.executable, "-c", program, str(directory), backend], start_new_session=True
    )


def wait_for_reports(directory: Path, count: int) -> None:
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        if sum(isinstance(event, Reported) for event in events(directory)) >= count:
            return
        time.sleep(0.05)
    pytest.fail("the sweep reported nothing")
