"""Files fetched from the web: whole and verified, or not there; what was cut off is continued."""

import hashlib
import os
from collections.abc import Callable, Sequence
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from tinytl.errors import DownloadError
from tinytl.storage import locked, not_written, write_atomically

Report = Callable[[int, int | None], None]
_SECONDS_TO_WAIT = 30.0  # for the next bytes
_CHUNK_BYTES = 2**18
_ATTEMPTS = 3  # of each address, where the connection is lost on the way
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def fetch(
    urls: Sequence[str],
    path: Path,
    *,
    digest: str | None = None,
    on_progress: Report | None = None,
) -> None:
    """Downloads a file unless it is there already; safe when several processes start at once.

    What arrives is kept in `<path>.partial`, where the next call goes on; the file gets its name
    when it is whole.

    Args:
        urls: Where the file is to be had, tried in this order; https only.
        path: The file; folders above it are created.
        digest: What the file must have, see `verify`.
        on_progress: Called with the bytes that are there and, where known, those of the file.

    Raises:
        DownloadError: If no address has the file; the text names each with its reason.
        StorageError: If the file cannot be written.
    """
    with locked(path):
        if path.exists():
            return
        partial = path.with_name(path.name + ".partial")
        reasons = []
        for url in urls:
            try:
                _download(url, partial, on_progress or (lambda done, total: None))
                _verify_or_remove(partial, digest)
            except DownloadError as error:
                reasons.append(f"{url}: {error}")
            else:
                _finish(partial, path)
                return
    raise DownloadError(f"cannot download {path.name}: {'; '.join(reasons) or 'no address known'}")


def verify(path: Path, digest: str) -> None:
    """Checks a file's content.

    Args:
        path: The file.
        digest: `sha256:` or `md5:` and the hexadecimal digest, or its first digits.

    Raises:
        DownloadError: If the content has another digest.
        OSError: If it cannot be read.
    """
    algorithm, _, expected = digest.partition(":")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, algorithm).hexdigest()
    if not expected or not found.startswith(expected):
        raise DownloadError(
            f"its {algorithm} must be {expected}, but is {found[: len(expected)]}: another file, "
            "or a damaged one"
        )


def _verify_or_remove(partial: Path, digest: str | None) -> None:
    try:
        if digest is not None:
            verify(partial, digest)
    except DownloadError:
        _remove(partial)
        raise


def _finish(partial: Path, path: Path) -> None:
    try:
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
        _version_file(partial).unlink(missing_ok=True)
    except OSError as error:
        raise not_written(path, error) from None


class _CutOffError(DownloadError):
    """The server answered, and then not all came: to be tried again."""


def _download(url: str, partial: Path, report: Report) -> None:
    """Completes `partial`, and tries again where the connection is lost."""
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            with _open(url, partial) as response:
                _append(response, partial, report)
            return
        except _CutOffError:
            if attempt == _ATTEMPTS:
                raise


def _open(url: str, partial: Path) -> HTTPResponse:
    """Asks for what `partial` lacks, and removes it where the server sends the whole file."""
    have_bytes = partial.stat().st_size if partial.exists() else 0
    headers = {"User-Agent": "tinytl"}
    if have_bytes and _version_file(partial).exists():
        # the server sends the rest only if its file is still the one that was begun
        version = _version_file(partial).read_text()
        headers |= {"Range": f"bytes={have_bytes}-", "If-Range": version}
    response = _request(url, headers, partial)
    if response.status == HTTPStatus.PARTIAL_CONTENT:
        if response.headers.get("Content-Range", "").startswith(f"bytes {have_bytes}-"):
            return response
        response.close()
        _remove(partial)
        raise _CutOffError("it does not go on where it was asked to")
    _remove(partial)
    if found := _version(response):
        write_atomically(_version_file(partial), found)
    return response


def _request(url: str, headers: dict[str, str], partial: Path) -> HTTPResponse:
    _check_address(url)
    try:
        request = Request(url, headers=headers)  # noqa: S310  # the line above checks it
        return build_opener(_Redirects).open(request, timeout=_SECONDS_TO_WAIT)
    except HTTPError as error:
        error.close()
        if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            _remove(partial)
            raise _CutOffError("it has no more than is here already") from None
        raise DownloadError(f"{error.code} {error.reason}") from None
    except URLError as error:
        raise DownloadError(f"no connection ({error.reason})") from None
    except (OSError, HTTPException) as error:
        raise _CutOffError(f"no answer ({error})") from None


def _append(response: HTTPResponse, partial: Path, report: Report) -> None:
    try:
        with partial.open("ab") as file:
            done = file.tell()
            total = None if response.length is None else done + response.length
            report(done, total)
            while chunk := _read(response):
                file.write(chunk)
                done += len(chunk)
                report(done, total)
    except OSError as error:
        raise not_written(partial, error) from None
    if total is not None and done < total:
        raise _CutOffError(f"the connection was lost after {done} of {total} bytes")


def _read(response: HTTPResponse) -> bytes:
    try:
        return response.read(_CHUNK_BYTES)
    except (OSError, HTTPException) as error:
        raise _CutOffError(f"the connection was lost ({error})") from None


def _version_file(partial: Path) -> Path:
    """Where it is noted which version of the file was begun."""
    return partial.with_name(partial.name + ".version")


def _version(response: HTTPResponse) -> str | None:
    """Returns what `If-Range` takes: a strong entity tag, or else the date."""
    tag = response.headers.get("ETag")
    return tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified")


def _remove(partial: Path) -> None:
    try:
        for path in (partial, _version_file(partial)):
            path.unlink(missing_ok=True)
    except OSError as error:
        raise not_written(partial, error) from None


class _Redirects(HTTPRedirectHandler):
    """Follows only to addresses that may be asked in the first place."""

    def redirect_request(self, req: Request, *args: Any) -> Request | None:
        """Returns the request to the new address, the last argument."""
        _check_address(args[-1])
        return super().redirect_request(req, *args)


def _check_address(url: str) -> None:
    """Lets https pass, and plain http only within the machine."""
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        raise DownloadError(f"only https is fetched, but got {url}")
