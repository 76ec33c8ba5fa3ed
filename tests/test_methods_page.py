"""The page of methods names every method, and the published figures of others as data has them."""

from pathlib import Path

import pytest

from orchestrator.spec.file import read_yaml
from tinytl.methods import METHODS

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "methods.md").read_text()
OTHERS = read_yaml(ROOT / "benchmarks" / "systems" / "methods.yaml")


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_a_row(method: str) -> None:
    assert PAGE.count(f"\n| `{method}` |") == 1


@pytest.mark.parametrize("other", OTHERS, ids=[other["name"] for other in OTHERS])
def test_published_figures_are_those_of_the_data(other: dict) -> None:
    assert f"\n| {other['name']} ({other['venue']}) | not yet |" in PAGE
    figures = "; ".join(
        f"{each['of']}: {each['figure']}"
        + (f" (beside {each['beside']})" if "beside" in each else "")
        for each in other["published"]
    )
    named = f"[{other['name']}]({other['source']}), {other['venue']}"
    assert f"\n| {named} | {other['what']} | {figures} |\n" in PAGE
