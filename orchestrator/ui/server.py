"""The MLflow server that shows a sweep: started, waited for, and stopped with all it started."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import IO

from orchestrator.tracking.mirror import Cursor
from orchestrator.tracking.store import ARTIFACTS_FOLDER, MLFLOW_SETTINGS, STORE_FILE, sqlite_file
from orchestrator.ui.address import Address
from orchestrator.ui.auth import AUTH_SETTING, prepare
from orchestrator.ui.ports import listeners
from tinytl.errors import ConfigError, TinyTLError

_START_SECONDS = 120.0
_STOP_SECONDS = 10.0
_MODE = "workflowType=machine_learning"
_APP = "tinytl"  # MLflow's server with the Pareto page, as the entry point is named
_PAGE = "tinytl/pareto"


class Server:
    """A running MLflow server.

    Args:
        process: The server.
        log: What it prints.
        url: Its address, without a slash at the end.
    """

    def __init__(self, process: "subprocess.Popen[bytes]", log: IO[bytes], url: str) -> None:
        self._url = url
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
                urllib.request.urlopen(f"{self._url}/health", timeout=5).close()  # noqa: S310
                if self._is_ours():
                    return
            time.sleep(0.2)
        raise TinyTLError(
            f"the MLflow server did not answer within {_START_SECONDS:g} s; try again"
        )

    def check_closed(self) -> None:
        """Makes sure that the server lets nobody in without a password.

        Raises:
            TinyTLError: If it does, or does not answer.
        """
        host = f"localhost:{urllib.parse.urlsplit(self._url).port}"  # a name that is always allowed
        request = urllib.request.Request(f"{self._url}/", headers={"Host": host})  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
                status = answer.status
        except urllib.error.HTTPError as error:
            status = error.code
        except OSError as error:
            raise TinyTLError(f"the MLflow server does not answer: {error}; try again") from None
        if status != HTTPStatus.UNAUTHORIZED:
            raise TinyTLError(
                "the MLflow server must let nobody in without a password, but it does; it is "
                "stopped. Install this package again, so that MLflow finds its page, and try again"
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
        port = urllib.parse.urlsplit(self._url).port
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
    """Returns what any MLflow server at `url` shows of the sweep, each with its address.

    MLflow opens in a mode for language models, which hides runs, unless the address says otherwise.
    """
    runs = f"{url.rstrip('/')}/#/experiments/{cursor.experiment_id}/runs"
    pages = [("all trials", f"{runs}?{_MODE}")]
    for study, run in cursor.studies.items():
        pages.append((f"{study}, table", f"{runs}/{run}?{_MODE}"))
        pages.append((f"{study}, front", f"{runs}/{run}/artifacts/front.html?{_MODE}"))
    return pages


def page_link(cursor: Cursor, url: str) -> tuple[str, str]:
    """Returns the Pareto page, which a server that `serve` runs shows besides."""
    return "Pareto fronts", f"{url}/{_PAGE}?experiment={cursor.experiment_id}"


def store_of(directory: Path, cursor: Cursor) -> str:
    """Returns the URI of the store that has the sweep's runs."""
    return cursor.store or f"sqlite:///{directory.resolve() / STORE_FILE}"


@contextmanager
def serve(
    directory: Path, cursor: Cursor, address: Address, *, auth: bool = False
) -> Iterator[Server]:
    """Runs an MLflow server on the sweep's store for as long as the context is open.

    The sweep may be running meanwhile. The server has one worker: more are slower on sqlite.

    Args:
        directory: The sweep's directory.
        cursor: Where the sweep's runs are.
        address: Where the server listens.
        auth: Whether it asks for a password; its accounts are kept in the directory.

    Raises:
        TinyTLError: If the server does not start.
    """
    store = store_of(directory, cursor)
    artifacts = (sqlite_file(store) or directory.resolve() / STORE_FILE).with_name(ARTIFACTS_FOLDER)
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--app-name", _APP]
    command += ["--backend-store-uri", store, "--artifacts-destination", str(artifacts)]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(  # noqa: S603
            command + address.options,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=_environment(prepare(directory) if auth else {AUTH_SETTING: None}),
            # a group of its own, so that Ctrl-C reaches us alone and `stop` reaches all of it
            start_new_session=True,
        )
        server = Server(process, log, address.url)
        try:
            server.wait_until_ready()
            if auth:
                server.check_closed()
            yield server
        finally:
            server.stop()


def _environment(settings: Mapping[str, str | None]) -> dict[str, str]:
    """Returns ours with the settings, without those that are None."""
    chosen = {**MLFLOW_SETTINGS, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", **settings}
    kept = {name: value for name, value in os.environ.items() if name not in chosen}
    return kept | {name: value for name, value in chosen.items() if value is not None}
