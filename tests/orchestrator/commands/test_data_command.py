"""`tinytl data`: what it prints, and how it ends."""

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.cli import main
from tests.official import place_archives
from tinytl.data import DATASETS

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command; returns its exit code, and what it printed to stdout and stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as exit:
            main(["data", *map(str, arguments)])
        printed = capsys.readouterr()
        return int(exit.value.code or 0), printed.out, printed.err

    return run


def test_ls_has_every_dataset(run: Run, tmp_path: Path) -> None:
    for file in ("stanford_cars/devkit.tgz", "flowers102/.lock"):  # the second a failed fetch left
        (tmp_path / file).parent.mkdir()
        (tmp_path / file).touch()
    (tmp_path / "pets.zip").touch()
    code, printed, _ = run("ls", "--data", tmp_path)
    rows = {}
    for line in printed.splitlines():
        cells = [cell.strip() for cell in line.strip("│").split("│")]
        rows[cells[0]] = cells
    assert code == 0
    assert set(DATASETS) <= set(rows)
    assert rows["cars"][1:] == [
        "196", "8,144", "0", "8,041", "stanford_cars", "tinytl data fetch cars says how",
    ]  # fmt: skip
    assert rows["pets"][5:] == ["pets.zip", "tinytl data fetch pets"]
    assert rows["celeba"][1:6] == ["40 labels", "162,770", "19,867", "19,962", "-"]
    assert rows["flowers102"][5] == "-"
    assert rows["digits"][5] == "built in"


@pytest.mark.parametrize("option", [True, False])
def test_fetch_and_check(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: bool
) -> None:
    info = place_archives("cars", tmp_path)
    monkeypatch.setitem(DATASETS, "cars", info)
    monkeypatch.setenv("TINYTL_DATA", "/nowhere" if option else str(tmp_path))
    where = ["--data", tmp_path] if option else []
    code, printed, _ = run("fetch", "cars", *where)
    assert code == 0
    assert printed.splitlines()[0] == f"{tmp_path}/cars/devkit is there"
    code, printed, _ = run("check", "cars", *where)
    assert code == 0
    assert all(line.startswith("ok ") for line in printed.splitlines())
    (tmp_path / "cars/cars_test/00002.jpg").write_bytes(b"damaged")
    code, printed, _ = run("check", "cars", "--all", *where)
    assert code == 1
    (wrong,) = [line for line in printed.splitlines() if line.startswith("wrong ")]
    assert "cars_test/00002.jpg" in wrong


def test_by_hand_is_one_sentence(run: Run, tmp_path: Path) -> None:
    code, printed, error = run("fetch", "celeba", "--data", tmp_path)
    assert (code, printed) == (2, "")
    assert len(error.splitlines()) == 1
    assert f"in {tmp_path}/celeba/ under the same names" in error


def test_what_is_built_in_needs_no_fetching(run: Run, tmp_path: Path) -> None:
    code, printed, _ = run("fetch", "digits", "--data", tmp_path)
    assert (code, "nothing to fetch" in printed) == (0, True)


@pytest.mark.parametrize("name", ["flower102", "../x"])
def test_an_unknown_name(run: Run, name: str) -> None:
    code, _, error = run("fetch", name)
    assert code == 2
    assert f"unknown dataset {name!r}: choose one of" in error


def test_clear_says_what_is_gone(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINYTL_CACHE", str(tmp_path))
    (tmp_path / "images" / "key").mkdir(parents=True)
    (tmp_path / "images" / "key" / "decoded-96").write_bytes(bytes(1_500_000))
    for size in ("1.5", "0.0"):
        said = f"deleted {size} MB of decoded images in {tmp_path}/images\n"
        assert run("clear")[:2] == (0, said)
    assert not list(tmp_path.glob("images/*/*"))


def test_help_names_the_verbs(run: Run) -> None:
    code, printed, _ = run("--help")
    assert code == 0
    assert all(verb in printed for verb in ("ls", "fetch", "check", "clear"))
