"""Downloads from a real server that misbehaves: whole files, or none and what can be continued."""

import hashlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tinytl import download
from tinytl.download import fetch, verify
from tinytl.errors import DownloadError, StorageError

CONTENT = os.urandom(3_000_000)
SHA256 = "sha256:" + hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Server:
    """What it serves and how; `requests` notes path and `Range` of each."""

    url: str = ""
    content: bytes = CONTENT
    version: dict[str, str] = field(default_factory=lambda: {"ETag": '"1"'})
    ranges: bool = True
    lengths: bool = True
    cut_after: list[int] = field(default_factory=list)  # bytes sent, one entry for each request
    pause: float = 0.0  # seconds between two pieces
    requests: list[tuple[str, str | None]] = field(default_factory=list)


def handler_of(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers["Range"]
            server.requests.append((self.path, asked))
            if self.path.startswith("/to/"):
                self.send_response(302)
                self.send_header("Location", self.path.removeprefix("/to/"))
                self.end_headers()
                return
            if self.path == "/missing":
                self.send_error(404)
                return
            self.send(int(asked[6:-1]) if self.continues(asked) else 0)

        def continues(self, asked: str | None) -> bool:
            same = self.headers["If-Range"] in server.version.values()
            return bool(asked and server.ranges and same)

        def send(self, start: int) -> None:
            total = len(server.content)
            if start >= total:
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
            if server.lengths:
                self.send_header("Content-Length", str(total - start))
            for name, value in server.version.items():
                self.send_header(name, value)
            self.end_headers()
            rest = server.content[start:]
            rest = rest[: server.cut_after.pop(0)] if server.cut_after else rest
            for position in range(0, len(rest), 100_000):
                self.wfile.write(rest[position : position + 100_000])
                time.sleep(server.pause)

        def log_message(self, *args: object) -> None:
            pass

    return Handler


@pytest.fixture
def server() -> Iterator[Server]:
    served = Server()
    http = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(served))
    http.handle_error = lambda *args: None  # clients that are killed are part of the tests
    served.url = f"http://127.0.0.1:{http.server_port}/file"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield served
    http.shutdown()
    http.server_close()
    thread.join()


def files(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir() if path.suffix != ".lock"}


def test_a_file_arrives_once_with_progress(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    seen: list[tuple[int, int | None]] = []
    for _ in range(2):
        fetch([server.url], path, digest=SHA256, on_progress=lambda *at: seen.append(at))
    assert path.read_bytes() == CONTENT
    assert files(path.parent) == {"file"}
    assert len(server.requests) == 1
    assert seen[0] == (0, len(CONTENT))
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert seen == sorted(seen)


def test_without_a_length_progress_has_no_total(server: Server, tmp_path: Path) -> None:
    server.lengths = False
    totals = set()
    fetch([server.url], tmp_path / "file", on_progress=lambda done, total: totals.add(total))
    assert totals == {None}
    assert (tmp_path / "file").read_bytes() == CONTENT


VERSIONS = [
    {"ETag": '"1"', "Last-Modified": "Wed, 21 Oct 2020 07:28:00 GMT"},
    {"ETag": 'W/"1"', "Last-Modified": "Wed, 21 Oct 2020 07:28:00 GMT"},
]


@pytest.mark.parametrize("version", VERSIONS, ids=["strong tag", "date"])
def test_a_cut_download_is_continued_in_the_same_call(
    version: dict[str, str], server: Server, tmp_path: Path
) -> None:
    server.version = version
    server.cut_after = [1_000_000, 500_000]
    fetch([server.url], tmp_path / "file")
    assert [asked for _, asked in server.requests] == [None, "bytes=1000000-", "bytes=1500000-"]
    assert (tmp_path / "file").read_bytes() == CONTENT


def cut(server: Server, path: Path) -> None:
    """Leaves 1.2 MB of the file, and forgets the requests."""
    server.cut_after = [1_200_000, 0, 0]
    with pytest.raises(DownloadError, match="lost after 1200000 of 3000000 bytes"):
        fetch([server.url], path)
    assert not path.exists()
    server.requests.clear()


def test_a_later_call_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    cut(server, tmp_path / "file")
    fetch([server.url], tmp_path / "file", digest=SHA256)
    assert [asked for _, asked in server.requests] == ["bytes=1200000-"]
    assert files(tmp_path) == {"file"}


CHANGES = {
    "a server without ranges": {"ranges": False},
    "another version of the file": {"version": {"ETag": '"2"'}, "content": CONTENT[::-1]},
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_cannot_be_continued_starts_over(change: str, server: Server, tmp_path: Path) -> None:
    cut(server, tmp_path / "file")
    for name, value in CHANGES[change].items():
        setattr(server, name, value)
    fetch([server.url], tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == server.content
    assert len(server.requests) == 1


def test_a_server_that_names_no_version_is_asked_for_the_whole(
    server: Server, tmp_path: Path
) -> None:
    server.version = {}
    server.cut_after = [1_200_000]
    fetch([server.url], tmp_path / "file")
    assert [asked for _, asked in server.requests] == [None, None]
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_what_was_whole_but_not_renamed_is_fetched_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.partial").write_bytes(CONTENT)
    (tmp_path / "file.partial.version").write_text('"1"')
    fetch([server.url], tmp_path / "file")
    assert [asked for _, asked in server.requests] == ["bytes=3000000-", None]
    assert (tmp_path / "file").read_bytes() == CONTENT


@pytest.mark.parametrize("algorithm", ["sha256", "md5"])
def test_another_content_is_refused_and_not_kept(
    algorithm: str, server: Server, tmp_path: Path
) -> None:
    with pytest.raises(DownloadError, match=rf"file: {server.url}: its {algorithm} must be 00000"):
        fetch([server.url], tmp_path / "file", digest=f"{algorithm}:00000000")
    assert files(tmp_path) == set()


def test_the_digest_may_be_given_by_its_first_digits(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(CONTENT)
    verify(tmp_path / "file", SHA256)
    verify(tmp_path / "file", SHA256[: len("sha256:") + 8])
    verify(tmp_path / "file", "md5:" + hashlib.md5(CONTENT).hexdigest())
    with pytest.raises(DownloadError):
        verify(tmp_path / "file", "sha256:")


def test_mirrors_are_tried_in_order(server: Server, tmp_path: Path) -> None:
    dead = "http://127.0.0.1:9/file"
    fetch([dead, server.url.replace("file", "missing"), server.url], tmp_path / "file")
    assert [path for path, _ in server.requests] == ["/missing", "/file"]
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_every_address_is_named_with_its_reason(server: Server, tmp_path: Path) -> None:
    dead, missing = "http://127.0.0.1:9/file", server.url.replace("file", "missing")
    with pytest.raises(DownloadError) as caught:
        fetch([dead, missing, "ftp://host/file"], tmp_path / "file")
    text = str(caught.value)
    assert text.startswith(f"cannot download file: {dead}: no connection (")
    assert f"; {missing}: 404 Not Found; ftp://host/file: only https is fetched" in text


def test_redirects_are_followed_within_what_is_allowed(server: Server, tmp_path: Path) -> None:
    base = server.url.removesuffix("file")
    fetch([f"{base}to/{server.url}"], tmp_path / "file")
    with pytest.raises(DownloadError, match="only https is fetched, but got http://example"):
        fetch([f"{base}to/http://example.org/file"], tmp_path / "other")


def test_silence_ends(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "_SECONDS_TO_WAIT", 0.05)
    server.pause = 0.2
    with pytest.raises(DownloadError, match="timed out"):
        fetch([server.url], tmp_path / "file")


def test_two_processes_at_once_fetch_it_once(server: Server, tmp_path: Path) -> None:
    server.pause = 0.005
    context = multiprocessing.get_context("fork")
    processes = [
        context.Process(target=fetch, args=([server.url], tmp_path / "file")) for _ in range(2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert len(server.requests) == 1
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_after_kill_9_the_rest_is_fetched(server: Server, tmp_path: Path) -> None:
    server.pause = 0.02
    context = multiprocessing.get_context("fork")
    process = context.Process(target=fetch, args=([server.url], tmp_path / "file"))
    process.start()
    partial = tmp_path / "file.partial"
    while not (partial.exists() and partial.stat().st_size > 500_000):
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    have = partial.stat().st_size
    assert have < len(CONTENT)
    server.requests.clear()
    fetch([server.url], tmp_path / "file", digest=SHA256)
    assert [asked for _, asked in server.requests] == [f"bytes={have}-"]


@pytest.mark.parametrize("small_disk_bytes", [2_000_000])
def test_a_full_disk_is_told_and_a_file_that_fits_arrives(
    server: Server, small_disk: Path, small_disk_bytes: int
) -> None:
    path = small_disk / "file"
    with pytest.raises(StorageError, match=r"cannot write .*No space left"):
        fetch([server.url], path)
    assert not path.exists()
    server.content = CONTENT[: small_disk_bytes // 2]
    server.version = {"ETag": '"2"'}
    fetch([server.url], path)
    assert path.read_bytes() == server.content
