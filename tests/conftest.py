import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from benchmarks.systems.faults.disk import small_disk as mounted

ROOT = Path(__file__).parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long ones first, so that no worker is left alone with one in the end."""
    items.sort(key=lambda item: item.get_closest_marker("integration") is None)


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The reference files (weights, images, parity tensors), which lie beside the checkout."""
    path = Path(os.environ.get("TINYTL_SHARED", ROOT.parent / "shared"))
    if not path.is_dir():
        pytest.skip(f"needs the reference files: set TINYTL_SHARED to their folder (not in {path})")
    return path


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """The networks are too small for more threads to be of use; subprocesses inherit it."""
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Built files go to a new directory, never to the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TINYTL_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.delenv("TINYTL_WEIGHTS", raising=False)
        patch.delenv("TINYTL_DATA", raising=False)
        yield


@pytest.fixture(scope="session", autouse=True)
def no_network() -> Iterator[None]:
    """What would be downloaded fails at once, in subprocesses too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("https_proxy", "http://127.0.0.1:9")
        patch.setenv("no_proxy", "127.0.0.1")
        yield


@pytest.fixture(scope="session")
def cuda() -> torch.device:
    """A GPU."""
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    return torch.device("cuda")


@pytest.fixture
def host_directory(tmp_path: Path) -> Path:
    """The files that `host` serves."""
    directory = tmp_path / "host"
    directory.mkdir()
    return directory


@pytest.fixture
def host(host_directory: Path) -> Iterator[str]:
    """Where files can be downloaded from."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(host_directory))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def small_disk_bytes() -> int:
    """Size of `small_disk`."""
    return 2**26


@pytest.fixture
def small_disk(tmp_path: Path, small_disk_bytes: int) -> Iterator[Path]:
    """An empty file system of its own, to be filled."""
    disk = tmp_path / "disk"
    with ExitStack() as stack:
        try:
            stack.enter_context(mounted(disk, small_disk_bytes))
        except PermissionError as error:
            pytest.skip(str(error))
        yield disk
