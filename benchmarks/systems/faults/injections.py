"""The faults, each as it is brought about.

A fault is a generator: what comes before its `yield` is done before the sweep starts, what comes
after it once the sweep is midway.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from benchmarks.systems.faults.cluster import free_port
from benchmarks.systems.faults.disk import small_disk
from benchmarks.systems.faults.scene import Place, Scene
from orchestrator.tracking.mirror import Cursor
from orchestrator.tracking.tracker import STORE_FILE
from orchestrator.ui.address import Address
from orchestrator.ui.server import serve

SMALL_DISK_BYTES = 2**26  # room for a sweep with its pages and database
_ASLEEP_SECONDS = 15.0  # longer than Ray waits for an answer
_DOWN_SECONDS = 3.0
_FULL_SECONDS = 120.0
_ARRIVAL_SECONDS = 0.5  # of reports that were on their way
_STILL_SECONDS = 3.0  # several epochs


def kill_driver(scene: Scene) -> Iterator[None]:
    """The process that runs the sweep is killed, and nothing else."""
    yield
    os.kill(scene.driver.pid, signal.SIGKILL)


def kill_workers(scene: Scene) -> Iterator[None]:
    """The processes that run trials are killed."""
    yield
    workers = scene.driver.workers()
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(_ARRIVAL_SECONDS)
    scene.mark_checkpoints(scene.unfinished())
    for pid in workers:
        os.kill(pid, signal.SIGKILL)


def kill_node(scene: Scene) -> Iterator[None]:
    """All processes of the node that the driver is not on are killed."""
    yield
    (_, node) = scene.nodes
    node.send(signal.SIGSTOP)
    time.sleep(_ARRIVAL_SECONDS)
    reported = scene.unfinished()
    time.sleep(_STILL_SECONDS)
    now = scene.unfinished()
    # the other node's trials have gone on meanwhile
    scene.mark_checkpoints({t: epoch for t, epoch in reported.items() if now.get(t) == epoch})
    node.kill()


def kill_head(scene: Scene) -> Iterator[None]:
    """All processes of the cluster's head are killed; a new cluster is started for the rest."""
    yield
    scene.nodes[0].kill()
    scene.wait_until_ended()
    scene.give_up_cluster()


def stop_tracking_server(scene: Scene) -> Iterator[None]:
    """The MLflow server ends, and is started again a while later."""
    port, served = free_port(), scene.folder / "served"
    served.mkdir()
    scene.store = served / STORE_FILE
    scene.options.append(f"--tracking-uri=http://127.0.0.1:{port}")
    nothing, address = Cursor("", None, 0, "", {}), Address("127.0.0.1", port)
    with serve(served, nothing, address):
        yield
    time.sleep(_DOWN_SECONDS)
    scene.enter(serve(served, nothing, address))


def fill_storage(scene: Scene) -> Iterator[None]:
    """The disk with the sweep's directory is full, until the sweep has ended."""
    disk = scene.folder / "disk"
    scene.enter(small_disk(disk, SMALL_DISK_BYTES))
    scene.directory = disk / "run"
    scene.store = scene.directory / STORE_FILE
    yield
    filler = disk / "filler"
    deadline = time.monotonic() + _FULL_SECONDS
    with filler.open("wb", buffering=0) as file:
        while scene.driver.running() and time.monotonic() < deadline:
            with suppress(OSError):  # again and again: a database that closes gives room back
                while file.write(bytes(2**16)):
                    pass
            time.sleep(0.01)
    filler.unlink()


def fall_asleep(scene: Scene) -> Iterator[None]:
    """All processes stand still for a while, as when a laptop is closed."""
    yield
    scene.driver.send(signal.SIGSTOP)
    time.sleep(_ASLEEP_SECONDS)
    scene.driver.send(signal.SIGCONT)


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong.

    Attributes:
        name: What, in words.
        inject: Brings it about.
        places: Where it can happen.
        ends_sweep: Whether the sweep ends by it, and goes on with --resume.
    """

    name: str
    inject: Callable[[Scene], Iterator[None]]
    places: tuple[Place, ...]
    ends_sweep: bool


FAULTS = (
    Fault("driver killed", kill_driver, ("local", "ray"), ends_sweep=True),
    Fault("workers killed", kill_workers, ("ray",), ends_sweep=False),
    Fault("node killed", kill_node, ("cluster",), ends_sweep=False),
    Fault("head killed", kill_head, ("cluster",), ends_sweep=True),
    Fault("tracking server down", stop_tracking_server, ("local",), ends_sweep=False),
    Fault("storage full", fill_storage, ("local", "ray"), ends_sweep=True),
    Fault("asleep", fall_asleep, ("ray",), ends_sweep=False),
)
