"""The paper's figures as data: complete, as printed, and each of a configuration there is."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.paper.claims import UNITS, Claim, load_claims
from orchestrator.fronts.paper import paper_points
from orchestrator.spec import load_spec
from tinytl.config import FinetuneConfig
from tinytl.engine.build import check
from tinytl.errors import ConfigError

CLAIMS = load_claims()
DATASETS = {
    "Flowers": "flowers102", "Cars": "cars", "CUB": "cub200", "Food": "food101", "Pets": "pets",
    "Aircraft": "aircraft", "CIFAR10": "cifar10", "CIFAR100": "cifar100", "CelebA": "celeba",
}  # fmt: skip
COLUMNS = DATASETS | {"MB": "memory", "reduce": "reduce"}
Figures = dict[tuple[str, str, str], float]


def claimed(*tables: str) -> Figures:
    return {(c.table, c.row, c.column): c.value for c in CLAIMS if c.table in tables}


def markdown_rows(text: str, title: str) -> Iterator[dict[str, str]]:
    """Yields the rows of the table below a heading."""
    section = text.split(f"## {title}", 1)[1].split("\n## ")[0]
    lines = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    head, _, *rows = [[word.strip() for word in line] for line in lines]
    for row in rows:
        yield dict(zip(head, row, strict=True))


def figures(row: dict[str, str], table: str, label: str) -> Figures:
    return {
        (table, label, COLUMNS[name]): float(text)
        for name, text in row.items()
        if name in COLUMNS and text != "-"
    }


@pytest.fixture(scope="module")
def paper(shared_dir: Path) -> str:
    return (shared_dir / "paper.md").read_text()


@pytest.mark.real_data
def test_every_figure_of_table_2(paper: str) -> None:
    rows = markdown_rows(paper, "Table 2")
    expected = [figures(row, "Table 2", row["method"]) for row in rows]
    assert claimed("Table 2") == {key: value for row in expected for key, value in row.items()}


@pytest.mark.real_data
def test_every_figure_of_table_3(paper: str) -> None:
    expected: Figures = {}
    for row in markdown_rows(paper, "Table 3"):
        if row["net"] == "ProxylessNAS-Mobile@320":  # the same network as in Table 2
            expected["Table 3", "TinyTL-L+B@320", "reduce"] = float(row["reduce"])
            same = figures(row, "Table 2", "TinyTL-L+B@320")
            del same["Table 2", "TinyTL-L+B@320", "reduce"]
            assert same.items() <= claimed("Table 2").items()
            continue
        separator = " " if row["method"] == "TinyTL" else ", "
        expected |= figures(row, "Table 3", f"{row['method']}{separator}{row['net']}")
    assert claimed("Table 3") == expected


@pytest.mark.real_data
def test_every_figure_of_table_4(paper: str) -> None:
    label, text = "TinyTL-RandomL+B", paper.split("## Table 4", 1)[1].split("\n## ")[0]
    expected = {("Table 4", label, "memory"): float(re.findall(r"(\d+) MB", text)[0])}
    for name, value in re.findall(r"(\w+) (\d+\.\d)", text):
        expected["Table 4", label, DATASETS[name]] = float(value)
    assert len(expected) == 10
    assert claimed("Table 4") == expected


@pytest.mark.real_data
def test_every_figure_of_figures_1_3_and_5(paper: str) -> None:
    expected: Figures = {}
    for row in markdown_rows(paper, "Figure 3"):
        label = row.pop("method")
        table = "Figure 5" if "batch 1" in label else "Figure 3"
        expected |= {(table, label, f"{px} px"): float(value) for px, value in row.items()}
    for px, value in re.findall(r"(?:at|;) ?(?:at )?(\d+) px: (\d+\.\d)", paper):
        expected["Figure 3", "full", f"{px} px"] = float(value)
    assert len(expected) == 38
    assert claimed("Figure 3", "Figure 5") == expected
    fewer, smaller = re.findall(r"has (\d\.\d)x fewer .* only (\d\.\d)x smaller", paper)[0]
    both = "MobileNetV2-1.4 and ResNet-50"
    assert "is close to 1 GB" in paper
    assert claimed("Figure 1") == {
        ("Figure 1", "MobileNetV2, batch 16", "memory"): 1000,
        ("Figure 1", both, "parameters"): float(fewer),
        ("Figure 1", both, "activations"): float(smaller),
    }


@pytest.mark.real_data
def test_the_counts_of_the_references_code(paper: str) -> None:
    text = paper.split("The reference's counting code", 1)[1].split("\n\n")[0]
    found = dict(re.findall(r"([\w.-]+)@\d+ (\d+\.\d) MB", text))
    others = text.split("for `full`;")[1]
    expected = {("Reference code", row, "full"): float(value) for row, value in found.items()}
    for method in ("bn+last", "last"):
        values = others.split(f" for `{method}`")[0].split(";")[-1]
        for row, value in zip(found, re.findall(r"\d+\.\d", values), strict=True):
            expected["Reference code", row, method] = float(value)
    assert claimed("Reference code") == expected


def test_tables_2_and_3_are_those_of_the_pareto_page() -> None:
    points = {
        (point["label"], dataset): (point["modeled_bytes"], point["test_accuracy"])
        for dataset, found in paper_points().items()
        for point in found
    }
    figures = {(c.row, c.column): c for c in CLAIMS if c.table in ("Table 2", "Table 3")}
    accuracies = {key: c for key, c in figures.items() if c.quantity == "accuracy"}
    assert accuracies.keys() == points.keys()
    for (row, dataset), (modeled, accuracy) in points.items():
        assert accuracies[row, dataset].value == pytest.approx(100 * accuracy, abs=1e-9)
        assert figures[row, "memory"].value * 1e6 == modeled


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.name)
def test_a_claim_is_reproduced_or_says_why_not(claim: Claim) -> None:
    assert bool(claim.experiment) != bool(claim.not_yet)
    assert claim.holds(claim.value) and not claim.holds(claim.value + 1.01 * claim.tolerance)
    assert 0 < claim.tolerance < claim.value
    assert claim.unit == UNITS[claim.quantity]
    for settings in (claim.settings, claim.beside):
        if claim.experiment == "paper-memory" and settings:
            known = {k: v for k, v in settings.items() if k not in ("classes", "modules")}
            config = FinetuneConfig.parse({"dataset": "any", "weights": "random", **known})
            check(config, with_modules=settings.get("modules", False))


ACCURACIES = {claim.name: claim for claim in CLAIMS if claim.experiment == "paper-accuracy"}


def test_every_accuracy_that_can_be_is_reproduced() -> None:
    assert len(ACCURACIES) == 113
    assert {c.quantity for c in ACCURACIES.values()} == {"accuracy"}
    missing = {c.row for c in CLAIMS if c.quantity == "accuracy" and c.not_yet}
    assert missing == {"FT-Full, NASNet-A Mobile"}


@pytest.mark.parametrize("claim", ACCURACIES.values(), ids=list(ACCURACIES))
def test_the_recipe_of_an_accuracy_is_a_sweep_of_that_row(claim: Claim) -> None:
    spec = load_spec(claim.recipe, claim.overrides)
    assert list(spec.datasets) == [claim.column]
    expected = {
        key: value.replace("{column}", claim.column) if isinstance(value, str) else value
        for key, value in claim.settings.items()
    }
    rows = [params for params in spec.space.grid() if expected.items() <= params.items()]
    assert {row["seed"] for row in rows} == {0, 1, 2, 3, 4}
    assert len(rows) == 5


GOOD = """
tables:
- table: Table 9
  quantity: memory
  tolerance: 0.5
  experiment: paper-memory
  columns: {a: {resolution: 96}, b: {}}
  rows:
    one: {settings: {method: last}, values: [1, null]}
"""
BAD = [
    ("tolerance: 0.5", "tolerance_share: 2", ["tables.0.tolerance_share: input should be less"]),
    ("tolerance: 0.5", "tolerance: 0.5\n  tolerance_share: 0.1", ["either tolerance or"]),
    ("tolerance: 0.5\n", "\n", ["either tolerance or"]),
    ("experiment: paper-memory", "note: none", ["tables.0.note: unknown key"]),
    ("experiment: paper-memory\n", "\n", ["give either the experiment or why"]),
    ("paper-memory", "paper-speed", ["tables.0.experiment: ", "'paper-speed'"]),
    ("quantity: memory", "quantity: speed", ["tables.0.quantity: ", "'speed'"]),
    ("quantity: memory", "quantity: memory_ratio", ["a ratio needs beside"]),
    ("[1, null]", "[1]", ["one: as many values as columns are needed (2), but got 1"]),
    (", values: [1, null]", "", ["one: give its values"]),
    ("[1, null]", "[1, x]", ["tables.0.rows.one.values.1: ", "'x'"]),
    ("tables:", "tables: [", ["cannot be read as YAML"]),
    # several at once
    ("[1, null]", "[1]}\n    two: {settings: {}", ["one: as many values", "two: give its values"]),
]


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_file_is_read(tmp_path: Path) -> None:
    (claim,) = load_claims(write(tmp_path / "claims.yaml", GOOD))
    assert (claim.name, claim.value, claim.unit) == ("Table 9, one, a", 1, "MB")
    assert claim.settings == {"method": "last", "resolution": 96}


@pytest.mark.parametrize(("old", "new", "sentences"), BAD)
def test_what_is_wrong_with_a_file_is_said(
    old: str, new: str, sentences: list[str], tmp_path: Path
) -> None:
    assert old in GOOD
    with pytest.raises(ConfigError) as error:
        load_claims(write(tmp_path / "claims.yaml", GOOD.replace(old, new)))
    for sentence in sentences:
        assert sentence in str(error.value)
    assert str(tmp_path) in str(error.value)


def test_a_figure_given_twice_is_refused(tmp_path: Path) -> None:
    twice = GOOD + GOOD.split("tables:\n")[1]
    with pytest.raises(ConfigError, match="Table 9, one, a: given more than once"):
        load_claims(write(tmp_path / "claims.yaml", twice))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_claims(tmp_path / "none.yaml")
