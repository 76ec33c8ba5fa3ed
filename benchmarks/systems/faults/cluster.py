"""A Ray cluster of several nodes on this machine."""

import secrets
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.systems.faults.session import Session

_START_SECONDS = 60.0
_NODE = ["--block", "--num-cpus=1", "--node-ip-address=127.0.0.1", "--memory=4000000000",
         "--object-store-memory=100000000"]  # fmt: skip


@dataclass(frozen=True)
class Cluster:
    """A running cluster.

    Attributes:
        address: Of its head.
        token: What it asks for.
        nodes: The head first.
    """

    address: str
    token: str
    nodes: list[Session]

    @property
    def variables(self) -> dict[str, str]:
        """The environment of who is let in."""
        return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.token}


@contextmanager
def cluster(folder: Path, *within: Sequence[str]) -> Iterator[Cluster]:
    """Runs a cluster as long as the context is open.

    Args:
        folder: For Ray's files; a short path, for there are sockets below it.
        within: For each node what its command is run by: the words before it.

    Raises:
        TimeoutError: If its head does not answer.
    """
    address = f"127.0.0.1:{free_port()}"
    found = Cluster(address, secrets.token_hex(16), [])
    variables = {**found.variables, "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0"}
    head = ["--head", f"--port={address.split(':')[1]}", "--include-dashboard=false"]
    ray = [str(Path(sys.executable).with_name("ray")), "start", *_NODE, f"--temp-dir={folder}"]
    with ExitStack() as stack:
        for number, words in enumerate(within):
            role = [f"--address={address}"] if number else head
            command = [*words, *ray, *role, f"--node-name=node-{number}"]
            found.nodes.append(stack.enter_context(Session(command, variables)))
            wait_for(address)
        yield found


def free_port() -> int:
    """Returns a port of this machine that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def wait_for(address: str) -> None:
    """Returns as soon as somebody answers at the address.

    Raises:
        TimeoutError: If nobody does.
    """
    host, _, port = address.partition(":")
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
            return
        except OSError:
            time.sleep(0.2)
    raise TimeoutError(address)
