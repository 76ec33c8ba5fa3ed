"""Tiny datasets, written as a folder and as a zip."""

import io
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from PIL import Image

Content = Mapping[str, bytes]
Write = Callable[[str, Content], Path]


@pytest.fixture(scope="session")
def png() -> Callable[..., bytes]:
    """Returns a PNG of one colour."""

    def make(red: int, width: int = 6, height: int = 4) -> bytes:
        buffer = io.BytesIO()
        Image.new("RGB", (width, height), (red, 20, 30)).save(buffer, "png")
        return buffer.getvalue()

    return make


@pytest.fixture(scope="session")
def class_folders(png) -> Callable[..., dict[str, bytes]]:
    """`class_folders("train/", cat=2)` is train/cat/0.png and train/cat/1.png.

    The images of a set are told apart by their red: `start`, `start + 1` and so on.
    """

    def make(base: str = "", start: int = 0, **classes: int) -> dict[str, bytes]:
        names = [f"{base}{name}/{i}.png" for name, count in classes.items() for i in range(count)]
        return {name: png(start + red) for red, name in enumerate(names)}

    return make


@pytest.fixture
def write_folder(tmp_path) -> Write:
    """Writes files below a new folder; a name with a slash at its end is an empty folder."""

    def write(name: str, content: Content) -> Path:
        place = tmp_path / name
        place.mkdir(parents=True, exist_ok=True)
        for file, data in content.items():
            path = place / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.mkdir() if file.endswith("/") else path.write_bytes(data)
        return place

    return write


@pytest.fixture
def write_zip(tmp_path) -> Write:
    """As `write_folder`, but into a new archive."""

    def write(name: str, content: Content) -> Path:
        place = tmp_path / f"{name}.zip"
        place.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as archive:
            for file, data in content.items():
                archive.writestr(file, data)
        return place

    return write


@pytest.fixture(params=["folder", "zip"])
def write(request) -> Write:
    """Both ways of writing a dataset, one after the other."""
    return request.getfixturevalue(f"write_{request.param}")
