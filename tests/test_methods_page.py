"""The page of methods names every method, and the published figures of others as data has them."""

from pathlib import Path

import pytest

from benchmarks.paper.others import Other, load_others
from tinytl.methods import METHODS, PAPER_METHODS

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "methods.md").read_text()
OTHERS = load_others()


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_a_row_with_its_name_in_the_paper(method: str) -> None:
    label = f"{METHODS[method].label} |" if method in PAPER_METHODS else "|"
    assert PAGE.count(f"\n| `{method}` | {label}") == 1


@pytest.mark.parametrize("other", OTHERS, ids=[other.name for other in OTHERS])
def test_published_figures_are_those_of_the_data(other: Other) -> None:
    assert f"\n| {other.name} ({other.venue}) | | not yet |" in PAGE
    figures = "; ".join(map(str, other.published))
    named = f"[{other.name}]({other.source}), {other.venue}"
    assert f"\n| {named} | {other.what} | {figures} |\n" in PAGE
