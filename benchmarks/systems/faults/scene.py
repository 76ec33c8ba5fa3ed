"""A tiny sweep that something happens to: started by its command, watched by its directory."""

import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Literal, Self, TypeVar

import torch

from benchmarks.systems.faults.cluster import Cluster, cluster
from benchmarks.systems.faults.session import Session, tinytl
from orchestrator.record import Event, read_events
from orchestrator.record.history import History
from orchestrator.tracking.tracker import STORE_FILE
from tinytl.checkpoint import read_tensors, write_tensors
from tinytl.errors import TinyTLError
from tinytl.finetune import CHECKPOINT

Place = Literal["local", "ray", "cluster"]
SWEEP = Path(__file__).with_name("tiny.yaml")
_WAIT_SECONDS = 300.0
_LEAVE_SECONDS = 30.0  # until the processes of a killed driver's trials have ended too
# how long a driver waits for a head that is gone; 60 seconds by default
_PATIENCE = "RAY_gcs_rpc_server_reconnect_timeout_s"
_T = TypeVar("_T")


class Scene:
    """Where a sweep runs that a fault strikes.

    Args:
        place: `local` and `ray` are the backends, `cluster` is Ray on two nodes.
        folder: For its files.

    Attributes:
        directory: The sweep's directory.
        store: Its MLflow database.
        options: Of `tinytl sweep`, besides those that the place needs.
        cluster: The nodes, where the sweep runs on several.
        driver: The sweep's command.
        left: How many trials' processes outlived a driver that ended.
        marked: Trials whose checkpoints were marked.
        bare: Trials that had reported, and had no checkpoint to be marked.
    """

    driver: Session

    def __init__(self, place: Place, folder: Path) -> None:
        self.folder = folder
        self.directory = folder / "run"
        self.store = self.directory / STORE_FILE
        self.options: list[str] = []
        self.cluster: Cluster | None = None
        self.left = 0
        self.marked: set[str] = set()
        self.bare: set[str] = set()
        self._place = place
        self._stack = ExitStack()
        # short, for Ray's sockets are below it
        temporary = tempfile.TemporaryDirectory(prefix="f-", dir="/tmp", ignore_cleanup_errors=True)
        self._temporary = Path(self.enter(temporary))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def enter(self, context: AbstractContextManager[_T]) -> _T:
        """Opens what is closed with the scene."""
        return self._stack.enter_context(context)

    def start(self, *options: str) -> None:
        """Starts the sweep, and nodes where it needs them and there are none."""
        backend = "local" if self._place == "local" else "ray"
        words = [str(SWEEP), "--out", str(self.directory), "--backend", backend]
        variables = {"TMPDIR": str(self._temporary)}
        if self._place == "cluster":
            self.cluster = self.cluster or self.enter(cluster(self._temporary, (), ()))
            words += ["--address", self.cluster.address, "--nodes", "2"]
            variables |= self.cluster.variables | {_PATIENCE: "5"}
        self.driver = self.enter(tinytl("sweep", *words, *self.options, *options, **variables))

    @property
    def nodes(self) -> list[Session]:
        """The nodes of its cluster, the head first; none where it needs none."""
        return self.cluster.nodes if self.cluster else []

    def give_up_cluster(self) -> None:
        """Ends what is left of the cluster; the next start is on a new one."""
        for node in self.nodes:
            node.kill()
        self.cluster = None

    def events(self) -> list[Event]:
        """Returns all events so far."""
        return [event for event, _ in read_events(self.directory)]

    def unfinished(self) -> dict[str, int]:
        """Returns the trials that have not ended, with the last epoch they reported."""
        return self._history().unfinished

    def wait_until_midway(self) -> None:
        """Returns as soon as a trial has ended and another has reported.

        Raises:
            TinyTLError: If the sweep ends before, or takes too long.
        """
        deadline = time.monotonic() + _WAIT_SECONDS
        while self.driver.running() and time.monotonic() < deadline:
            history = self._history()
            if history.told and any(history.unfinished.values()):
                return
            time.sleep(0.02)
        raise TinyTLError(f"the sweep was not seen midway; it said:\n{self.driver.said()}")

    def wait_until_ended(self) -> int:
        """Returns the sweep's status, and notes how many trials' processes it left.

        Raises:
            TinyTLError: If it takes too long.
        """
        try:
            status = self.driver.wait(_WAIT_SECONDS)
        except subprocess.TimeoutExpired:
            raise TinyTLError(f"the sweep does not end; it said:\n{self.driver.said()}") from None
        deadline = time.monotonic() + _LEAVE_SECONDS
        while (left := self.driver.workers()) and time.monotonic() < deadline:
            time.sleep(0.1)
        self.left += len(left)
        return status

    def mark_checkpoints(self, trials: Mapping[str, int]) -> None:
        """Makes it seen whether trials go on from their checkpoints.

        A byte is added to the memory that a checkpoint says was measured. Who goes on from it
        reports that number to the end, and who starts anew measures again.

        Args:
            trials: With the last epoch that each reported.
        """
        for trial, epoch in trials.items():
            path = self.directory / "trials" / trial / CHECKPOINT
            if path.exists():
                state = read_tensors(path, torch.device("cpu"))
                for section in ("memory", "metrics"):
                    state[section]["peak_bytes"] += 1
                write_tensors(path, state)
                self.marked.add(trial)
            elif epoch > 0:
                self.bare.add(trial)

    def _history(self) -> History:
        history = History()
        for event in self.events():
            history.add(event)
        return history
