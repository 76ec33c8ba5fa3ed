"""Ports: finding a free one, and saying who holds one that is not."""

import contextlib
import errno
import socket
from pathlib import Path

from tinytl.errors import ConfigError

DEFAULT_PORT = 5000
_TRIED = 100
_LISTENING = "0A"


def choose_port(host: str, port: int | None) -> int:
    """Returns the port if it is free, or without one the first free port from 5000 on.

    Raises:
        ConfigError: If the port is in use or not allowed, or the host is none of this machine.
    """
    if port is not None:
        if _is_free(host, port):
            return port
        who = holder(port)
        raise ConfigError(
            f"port {port} on {host} is in use{f' by {who}' if who else ''}; stop that, choose "
            "another with --port, or leave --port out to take the next free one"
        )
    for candidate in range(DEFAULT_PORT, DEFAULT_PORT + _TRIED):
        if _is_free(host, candidate):
            return candidate
    raise ConfigError(
        f"the ports {DEFAULT_PORT} to {DEFAULT_PORT + _TRIED - 1} on {host} are all in use; choose "
        "a free one with --port"
    )


def holder(port: int) -> str | None:
    """Returns which process listens on the port, or None where /proc does not tell."""
    for process in listeners(port):
        with contextlib.suppress(OSError):  # it has ended
            words = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
            command = b" ".join(words).decode(errors="replace").strip()
            return f"process {process} ({command[:80]})"
    return None


def listeners(port: int) -> list[int]:
    """Returns the ids of the processes that listen on the port; none where /proc does not tell."""
    inodes = _listening_inodes(port)
    processes = Path("/proc").glob("[0-9]*") if inodes else ()
    return [int(process.name) for process in processes if inodes & _open_files(process)]


def _open_files(process: Path) -> set[str]:
    files = set()
    with contextlib.suppress(OSError):  # it has ended, or belongs to somebody else
        for descriptor in (process / "fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                files.add(str(descriptor.readlink()))
    return files


def _is_free(host: str, port: int) -> bool:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            return True
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return False
        raise ConfigError(
            f"cannot listen on port {port} of {host}: {error.strerror}; choose an address of this "
            "machine with --host, such as 127.0.0.1, and a port from 1024 on with --port"
        ) from None


def _listening_inodes(port: int) -> set[str]:
    inodes = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        for line in table.read_text().splitlines()[1:] if table.exists() else ():
            fields = line.split()
            if int(fields[1].rpartition(":")[2], 16) == port and fields[3] == _LISTENING:
                inodes.add(f"socket:[{fields[9]}]")
    return inodes
