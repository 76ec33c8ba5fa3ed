"""Where the server listens, and under which names it may be asked."""

import ipaddress
import re
import socket
from dataclasses import dataclass

from tinytl.errors import ConfigError

_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104
_OWN_NAMES = ("localhost", "127.0.0.1", "[::1]")
_NAME = re.compile(r"([\w.*-]+|\[[0-9a-fA-F:.]+\])(?P<port>:\d+)?")


@dataclass(frozen=True)
class Address:
    """Where the server listens, and under which names it may be asked.

    Attributes:
        host: The interface's name or address.
        port: The port.
        allowed: Names of this machine as others write them, in a URL; with none MLflow takes
            localhost and private addresses.
    """

    host: str
    port: int
    allowed: tuple[str, ...] = ()

    @property
    def url(self) -> str:
        """The server as this machine reaches it, without a slash at the end."""
        address = _ANY_ADDRESS.get(self.host, self.host)
        return f"http://[{address}]:{self.port}" if ":" in address else self._url(address)

    @property
    def link(self) -> str:
        """The server as those reach it for whom it listens, without a slash at the end."""
        names = [] if is_loopback(self.host) else [n for n in self.allowed if "*" not in n]
        return self._url(names[0]) if names else self.url

    @property
    def options(self) -> list[str]:
        """What makes MLflow's server listen here, and answer to these names.

        MLflow compares a name with the whole of what a browser sends, port included, and takes a
        page of its own for a foreign one unless that page's origin is allowed as well.
        """
        options = ["--host", self.host, "--port", str(self.port)]
        if not self.allowed:
            return options
        hosts = [name for given in self.allowed for name in self._with_port(given)]
        origins = [f"{scheme}://{host}" for host in hosts for scheme in ("http", "https")]
        hosts += [f"{name}:{self.port}" for name in _OWN_NAMES]
        return [
            *options,
            *("--allowed-hosts", ",".join(hosts)),
            *("--cors-allowed-origins", ",".join(origins)),
        ]

    def _with_port(self, name: str) -> list[str]:
        return [name] if _has_port(name) else [name, f"{name}:{self.port}"]

    def _url(self, name: str) -> str:
        return f"http://{name}" if _has_port(name) else f"http://{name}:{self.port}"


def parse_allowed(text: str | None) -> tuple[str, ...]:
    """Returns the names in a comma-separated list.

    Raises:
        ConfigError: If one is no name.
    """
    names = [name.strip().lower() for name in (text or "").split(",")]
    names = [name for name in names if name]
    wrong = [name for name in names if not _NAME.fullmatch(name) or not name.strip("*.")]
    if wrong:
        raise ConfigError(
            "--allowed-hosts must be names of this machine without scheme and path, such as "
            f"lab.example or lab.example:8080, * only as a part of one, but got {', '.join(wrong)}"
        )
    return tuple(names)


def check_reach(host: str, allowed: tuple[str, ...]) -> None:
    """Refuses to listen for others unless it is said under which names they come.

    Raises:
        ConfigError: If it is not said.
    """
    if not is_loopback(host) and not allowed:
        raise ConfigError(
            f"--host {host} lets others in, which needs --allowed-hosts: the names, separated by "
            "commas, that they write for this machine in their browser, such as "
            f"--allowed-hosts {socket.gethostname()}; without it pages of other sites could reach "
            "the server through their browser. To let nobody in, leave out --host"
        )


def is_loopback(host: str) -> bool:
    """Returns whether only this machine reaches the host; a name that means nothing is not."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        return all(ipaddress.ip_address(str(entry[4][0])).is_loopback for entry in found)
    except (OSError, ValueError, UnicodeError):
        return False


def _has_port(name: str) -> bool:
    match = _NAME.fullmatch(name)
    return bool(match and match["port"])
