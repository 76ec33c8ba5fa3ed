"""Where a weights file is looked for, and what is said where it cannot be had."""

from pathlib import Path

import pytest

from tinytl.backbones.weights import WEIGHTS, Source, find_file, find_weights, weights_info
from tinytl.errors import WeightsError

FILE = "proxyless-w0.3-r176_imagenet.pth"
DEAD = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TINYTL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "weights"


def test_directories_are_looked_through_in_order(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINYTL_WEIGHTS", str(tmp_path / "b"))
    for directory in (cache, tmp_path / "b", tmp_path / "a"):
        directory.mkdir(parents=True)
        (directory / FILE).touch()
        found = find_weights("imagenet", "proxyless_w0.3", tmp_path / "a")
        assert found == directory / FILE
    assert find_weights("imagenet", "proxyless_w0.3", found) == found
    assert find_weights(str(found), "proxyless_w0.3", None) == found
    with pytest.raises(WeightsError, match=f"there is no weights file nowhere/{FILE}"):
        find_weights(f"nowhere/{FILE}", "proxyless_w0.3", None)


def test_a_missing_file_is_downloaded_once(
    host: str, host_directory: Path, tmp_path: Path, cache: Path
) -> None:
    source = Source(file="folder/init", urls=(f"{DEAD}/init", f"{host}/folder/init"))
    (host_directory / "folder").mkdir()
    (host_directory / "folder" / "init").write_bytes(b"weights")
    seen: list[int] = []
    path = find_file(source, tmp_path / "a", lambda done, total: seen.append(done))
    assert path == cache / "folder" / "init"
    assert path.read_bytes() == b"weights"
    assert seen == [0, len(b"weights")]
    (host_directory / "folder" / "init").unlink()
    assert find_file(source) == path


def test_offline_it_is_said_which_file_to_put_where(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINYTL_WEIGHTS", str(tmp_path / "b"))
    source = Source(file=FILE, urls=(f"{DEAD}/1", f"{DEAD}/2"))
    with pytest.raises(WeightsError) as caught:
        find_file(source, tmp_path / "a")
    text = str(caught.value)
    places = f"{tmp_path / 'a'}, {tmp_path / 'b'}, {cache}"
    assert text.startswith(
        f"put the file {FILE} into a directory and name it with --weights or TINYTL_WEIGHTS: not "
        f"in {places}, and cannot download {FILE}: {DEAD}/1: no connection ("
    )
    assert f"; {DEAD}/2: no connection (" in text


def test_files_that_are_of_use_together_are_named_together(tmp_path: Path) -> None:
    source = Source(file="folder/a", urls=(f"{DEAD}/a",), needs=("folder/b", "folder/c"))
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "b").touch()
    with pytest.raises(WeightsError, match=r"^put the files folder/a and folder/c into"):
        find_file(source, tmp_path)


def test_a_damaged_mirror_is_passed_over(
    host: str, host_directory: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (host_directory / FILE).write_bytes(b"an error page")
    info = weights_info("imagenet", "proxyless_w0.3")
    served = type(info)(**{**vars(info), "urls": (f"{host}/{FILE}",)})
    monkeypatch.setitem(WEIGHTS["imagenet"], "proxyless_w0.3", (served,))
    with pytest.raises(WeightsError, match="its sha256 must be 5c94b0"):
        find_weights("imagenet", "proxyless_w0.3", None)
    assert not (cache / FILE).exists()


def test_the_built_in_model_is_built_not_fetched() -> None:
    with pytest.raises(WeightsError, match="is not built yet: `tinytl sweep digits` builds it"):
        find_weights("rendered_digits", "proxyless_tiny", None)
