"""The MLflow server that shows a sweep: started, waited for, and stopped with all it started."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from orchestrator.tracking.mirror import Cursor
from orchestrator.tracking.tracker import ARTIFACTS_FOLDER, MLFLOW_SETTINGS, STORE_FILE, sqlite_file
from orchestrator.ui.ports import listeners
from tinytl.errors import ConfigError, TinyTLError

_START_SECONDS = 120.0
_STOP_SECONDS = 10.0
_MODE = "workflowType=machine_learning"
_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104


class Server:
    """A running MLflow server.

    Attributes:
        url: Its address, without a slash at the end.
    """

    def __init__(self, process: "subprocess.Popen[bytes]", log: IO[bytes], url: str) -> None:
        self.url = url
        self._process = process
        self._log = log

    def wait(self) -> None:
        """Returns never; ends by an exception.

        Raises:
            TinyTLError: If the server ends by itself.
        """
        self._process.wait()
        raise self._ended()

    def wait_until_ready(self) -> None:
        """Returns as soon as the server answers.

        Raises:
            TinyTLError: If it ends before, or does not answer in time.
        """
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise self._ended()
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{self.url}/health", timeout=5).close()  # noqa: S310
                if self._is_ours():
                    return
            time.sleep(0.2)
        raise TinyTLError(
            f"the MLflow server did not answer within {_START_SECONDS:g} s; try again"
        )

    def stop(self) -> None:
        """Ends the server and everything that it started."""
        for sign in (signal.SIGTERM, signal.SIGKILL):
            deadline = time.monotonic() + _STOP_SECONDS
            try:
                os.killpg(self._process.pid, sign)
                while time.monotonic() < deadline:
                    self._process.poll()
                    os.killpg(self._process.pid, 0)
                    time.sleep(0.05)
            except ProcessLookupError:
                break
        self._process.wait()

    def _is_ours(self) -> bool:
        """Returns whether it is this server that answers, not one that took the port just before.

        Where nothing tells who listens, what answers is taken for this server.
        """
        port = urllib.parse.urlsplit(self.url).port
        found = listeners(port) if port else []
        with contextlib.suppress(ProcessLookupError):
            return not found or self._process.pid in map(os.getpgid, found)
        return False

    def _ended(self) -> TinyTLError:
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return TinyTLError(
            f"the MLflow server ended with code {self._process.returncode}; it said:\n"
            + "\n".join(lines[-10:])
        )


def read_cursor(directory: Path) -> Cursor:
    """Returns where the sweep's runs are.

    Raises:
        ConfigError: If nothing of the sweep is tracked yet.
    """
    cursor = Cursor.read(directory)
    if cursor is None or (cursor.store is None and not (directory / STORE_FILE).exists()):
        raise ConfigError(
            f"nothing of the sweep in {directory} is in MLflow yet; wait until its first trial has "
            "started, or continue it with --resume"
        )
    return cursor


def is_remote(cursor: Cursor) -> bool:
    """Returns whether the runs are on a server that runs elsewhere."""
    return cursor.store is not None and cursor.store.startswith(("http://", "https://"))


def links(cursor: Cursor, url: str) -> list[tuple[str, str]]:
    """Returns what can be looked at on the server at `url`, each with its address.

    MLflow opens in a mode for language models, which hides runs, unless the address says otherwise.
    """
    runs = f"{url.rstrip('/')}/#/experiments/{cursor.experiment_id}/runs"
    pages = [("all trials", f"{runs}?{_MODE}")]
    for study, run in cursor.studies.items():
        pages.append((f"{study}, table", f"{runs}/{run}?{_MODE}"))
        pages.append((f"{study}, front", f"{runs}/{run}/artifacts/front.html?{_MODE}"))
    return pages


@contextmanager
def serve(directory: Path, cursor: Cursor, host: str, port: int) -> Iterator[Server]:
    """Runs an MLflow server on the sweep's store for as long as the context is open.

    The sweep may be running meanwhile.

    Raises:
        TinyTLError: If the server does not start.
    """
    store = cursor.store or f"sqlite:///{directory.resolve() / STORE_FILE}"
    artifacts = (sqlite_file(store) or directory.resolve() / STORE_FILE).with_name(ARTIFACTS_FOLDER)
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1"]
    command += ["--host", host, "--port", str(port)]
    command += ["--backend-store-uri", store, "--artifacts-destination", str(artifacts)]
    address = _ANY_ADDRESS.get(host, host)
    url = f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}"
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(  # noqa: S603
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | MLFLOW_SETTINGS | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            # a group of its own, so that Ctrl-C reaches us alone and `stop` reaches all of it
            start_new_session=True,
        )
        server = Server(process, log, url)
        try:
            server.wait_until_ready()
            yield server
        finally:
            server.stop()
