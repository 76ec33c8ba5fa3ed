"""What was measured once: kept for other processes, and no more than a help."""

from pathlib import Path

import pytest

from tinytl.engine.planned.memo import Memo


def never() -> int:
    raise AssertionError("measured again")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TINYTL_CACHE", str(tmp_path))
    return tmp_path


def test_a_number_is_measured_once() -> None:
    memo = Memo()
    assert memo.get("block", lambda: 7) == 7
    assert memo.get("block", never) == 7
    assert memo.get("another", lambda: 8) == 8


def test_another_process_finds_what_several_saved() -> None:
    first, second = Memo(), Memo()
    assert (first.get("a", lambda: 1), second.get("b", lambda: 2)) == (1, 2)
    first.save()
    second.save()
    later = Memo()
    assert (later.get("a", never), later.get("b", never)) == (1, 2)


def test_a_damaged_file_is_measured_again(cache: Path) -> None:
    memo = Memo()
    memo.get("a", lambda: 1)
    memo.save()
    (file,) = cache.rglob("blocks-*.json")
    file.write_text(file.read_text()[:-3])
    again = Memo()
    assert again.get("a", lambda: 1) == 1
    again.save()
    assert Memo().get("a", never) == 1


def test_a_directory_that_is_none_costs_time_only(cache: Path) -> None:
    (cache / "measured").write_text("in the way")
    memo = Memo()
    assert memo.get("a", lambda: 1) == 1
    memo.save()
    assert memo.get("a", never) == 1
