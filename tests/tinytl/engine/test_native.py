"""The C++ operators: built once, and done without where they cannot be."""

from pathlib import Path

import pytest

from tinytl.engine.planned.native import operators


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TINYTL_CACHE", str(tmp_path))
    monkeypatch.delenv("TINYTL_NATIVE", raising=False)
    return tmp_path


def test_without_a_compiler_there_is_a_warning_and_nothing_half_built(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "/nowhere/c++")
    with pytest.warns(UserWarning, match="could not be built .*apt install g"):
        assert operators.__wrapped__() is None
    assert not [path for path in cache.rglob("*") if path.is_file() and path.suffix != ".lock"]


def test_a_cache_that_cannot_be_written_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINYTL_CACHE", "/dev/null/cache")
    with pytest.warns(UserWarning, match="cannot write to"):
        assert operators.__wrapped__() is None


def test_they_can_be_turned_off(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINYTL_NATIVE", "0")
    assert operators.__wrapped__() is None
    assert not list(cache.iterdir())
