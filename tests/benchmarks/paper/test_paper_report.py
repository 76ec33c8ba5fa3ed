"""The report: every claim, what was found, and what was not."""

from dataclasses import replace
from html.parser import HTMLParser
from math import hypot

import pytest

from benchmarks.paper.claims import Claim, load_claims
from benchmarks.paper.comparison import Study, Trained, pairs_in_order, steps
from benchmarks.paper.experiments.base import Row, Scale
from benchmarks.paper.experiments.smoke import cell_of
from benchmarks.paper.others import load_others
from benchmarks.paper.report import Findings, html_page, markdown, summary
from benchmarks.paper.report.plots import curves, front_of, parts_of

ORIGIN = {
    "when": "2020-01-01T00:00:00+00:00", "commit": "abc", "uncommitted_changes": True, "cpus": 2,
    "packages": {"torch": "2"}, "python": "3.11", "system": "Linux", "processor": "<Xeon>",
    "device": "cpu",
}  # fmt: skip
CLAIMS = load_claims()


def claim(name: str) -> Claim:
    return next(claim for claim in CLAIMS if claim.name == name)


BIAS, LAST = claim("Table 2, TinyTL-B, memory"), claim("Table 3, FT-Last, Inception-V3, memory")
REDUCE = claim("Table 3, FT-Last, Inception-V3, reduce")
CARS = claim("Table 2, FT-Last, cars")
NASNET = claim("Table 3, FT-Full, NASNet-A Mobile, memory")


def measured(peak_bytes: int, **parts: int) -> dict[str, int]:
    names = ("parameters", "buffers", "optimizer", "input", "gradients", "activations", "transient")
    zero = {f"{name}_bytes": 0 for name in names}
    return {"peak_bytes": peak_bytes, **zero, **{f"{k}_bytes": v for k, v in parts.items()}}


PEAKS = {
    "plain": measured(554_600_000, input=1_200_000),
    "planned": measured(14_863_224, input=1_200_000),
}
ROWS = [
    Row(BIAS, "pass", 31.96, None, PEAKS, "", "tinytl bench", (ORIGIN,)),
    Row(LAST, "fail", 89.0, command="tinytl bench", origins=(ORIGIN,)),
    Row(REDUCE, "not run", command="tinytl bench"),
    Row(CARS, "not run", why="no images of cars", command="tinytl bench"),
    Row(CARS, "pass", 51.34, 0.26, {"saving": {"peak_bytes": 64_000_000}}, command="tinytl"),
    Row(NASNET, "not yet"),
]


def trained(method: str, paper: float | None, peak_bytes: int, *accuracies: float) -> Trained:
    metrics = {"peak_bytes": peak_bytes, "modeled_bytes": 10**6, "step_seconds": 0.02}
    return Trained(method, paper, accuracies, metrics)


LAST_, BIASES, MODULES, FULL = (
    trained("last", 80.0, 2_000_000, 60.0, 62.0),
    trained("tinytl-bias", 85.0, 3_000_000, 61.5, 60.5),
    trained("tinytl-lite_residual", 87.0, 5_000_000, 66.0, 67.0),
    trained("full", 90.0, 20_000_000, 65.0, 65.0),
)
SPARSE = trained("sparse-update", None, 4_000_000, 62.0, 62.0)
METHODS = [LAST_, BIASES, MODULES, FULL, SPARSE]
STUDY = Study(
    cell_of("cifar10", Scale.cpu), "small <images>", "Table 2, cifar10", {64: METHODS, 96: METHODS},
    directory="paper-smoke/sweeps/cifar10-cpu-1", origins=(ORIGIN,),
)  # fmt: skip
UNTRIED = Study(cell_of("grocery-81", Scale.full), "groceries", "", {}, why="no images of it")
FOUND = Findings(ROWS, [STUDY, UNTRIED])
# claim's own columns, difference and result, measured: plain, saving, planned
TEXTS = [
    ["TinyTL-B", "memory", "MB", "32", "0.5", "32.0", "+0.0", "pass", "554.6", "", "14.9"],
    ["FT-Last, Inception-V3", "memory", "MB", "94", "2.82", "89.0", "-5.0", "fail", "", "", ""],
    ["FT-Last, Inception-V3", "reduce", "x", "9.0", "0.72", "", "", "not run", "", "", ""],
    ["FT-Last", "cars", "%", "50.9", "1", "", "", "not run", "", "", ""],
    ["FT-Last", "cars", "%", "50.9", "1", "51.3 ± 0.3", "+0.4", "pass", "", "64.0", ""],
    ["FT-Full, NASNet-A Mobile", "memory", "MB", "566", "17", "", "", "not yet", "", "", ""],
    # method, pixels, paper, ours, measured, times less than full, the paper's count
    ["FT-Last", "96", "80.0", "61.0 ± 1.4", "2.00", "10.0", "1.00"],
    ["Sparse update", "96", "", "62.0 ± 0.0", "4.00", "5.0", "1.00"],
    ["TinyTL-L", "64", "87.0", "66.5 ± 0.7", "5.00", "4.0", "1.00"],
    # neighbours, pixels, the paper's gap, ours, its standard error
    ["FT-Last < TinyTL-B", "96", "+5.0", "+0.0", "1.1"],
    ["TinyTL-L < FT-Full", "96", "+3.0", "-1.5", "0.5"],
]


class Cells(HTMLParser):
    """The texts of a page's table cells, and what it would load."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.loads: list[str] = []
        self._inside = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self.rows.append([])
        if tag == "td":
            self.rows[-1].append("")
            self._inside = True
        self.loads += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        if tag == "td":
            self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.rows[-1][-1] += data


def markdown_rows(text: str) -> list[list[str]]:
    lines = [line.split("|")[1:-1] for line in text.splitlines() if line.startswith("|")]
    return [[word.strip() for word in line] for line in lines]


@pytest.mark.parametrize("texts", TEXTS)
def test_a_row_is_in_both_files(texts: list[str]) -> None:
    for rows in (markdown_rows(markdown(FOUND)), Cells(html_page(FOUND)).rows):
        assert texts in [row[:-1] for row in rows]


def test_why_and_how_to_run_it_stand_in_the_last_column() -> None:
    for rows, quote in ((markdown_rows(markdown(FOUND)), "`"), (Cells(html_page(FOUND)).rows, "")):
        last = [row[-1] for row in rows if row]
        assert f"{LAST.note}; {quote}tinytl bench{quote}" in last
        assert f"no images of cars; {quote}tinytl bench{quote}" in last
        assert NASNET.not_yet in last


def test_nothing_is_left_out() -> None:
    every = Findings([Row(claim, "not run") for claim in CLAIMS])
    for found in (markdown_rows(markdown(every)), Cells(html_page(every)).rows):
        names = [tuple(row[:2]) for row in found if len(row) == 12 and row[0] not in ("row", "---")]
        assert names == [(claim.row, claim.column) for claim in CLAIMS]
        others = [row[0] for row in found if len(row) == 4 and row[1] == "not yet"]
        assert others == [f"{other.name} ({other.venue})" for other in load_others()]


def test_a_page_loads_nothing_and_shows_text_as_text() -> None:
    page = html_page(FOUND)
    assert Cells(page).loads == []
    for text in ("Xeon", "images"):
        assert f"&lt;{text}&gt;" in page and f"<{text}>" not in page


def test_provenance_is_told_once_for_all_rows_of_one_origin() -> None:
    lines = [line for line in markdown(FOUND).splitlines() if line.startswith("- commit")]
    assert len(lines) == 1
    assert "abc with uncommitted changes" in lines[0] and "torch 2" in lines[0]


def test_the_summary_counts() -> None:
    assert summary(ROWS) == "6 claims: 2 pass, 1 fail, 2 not run, 1 not yet"


def test_figures_3_and_5_are_drawn_by_resolution() -> None:
    figure = [claim for claim in CLAIMS if claim.table == "Figure 3" and claim.row == "last"]
    rows = [
        Row(claim, "pass", 1.0 + i, measured={"plain": measured(10**6 * i)})
        for i, claim in enumerate(figure)
    ]
    resolutions = [160, 192, 224, 256, 288, 320]
    assert curves(rows) == {
        "paper": (resolutions, [18.2, 24.0, 30.8, 38.7, 47.6, 57.6]),
        "modeled": (resolutions, [1, 2, 3, 4, 5, 6]),
        "plain": (resolutions, [0, 1, 2, 3, 4, 5]),
    }
    assert html_page(Findings(rows)).count("Plotly.newPlot(") == 1


def test_the_parts_of_table_2_are_drawn() -> None:
    parts = parts_of(ROWS)
    assert list(parts) == ["TinyTL-B, plain", "TinyTL-B, planned"]
    assert parts["TinyTL-B, planned"]["input"] == 1.2
    assert html_page(Findings(ROWS)).count("Plotly.newPlot(") == 1


def test_a_study_is_drawn_as_its_front_and_by_resolution() -> None:
    assert front_of(METHODS) == [LAST_, SPARSE, MODULES]
    page = html_page(Findings([], [STUDY]))
    assert page.count("Plotly.newPlot(") == 2
    one = replace(STUDY, trained={96: METHODS})
    assert html_page(Findings([], [one])).count("Plotly.newPlot(") == 1


def test_the_script_is_there_once() -> None:
    page = html_page(Findings(ROWS, [STUDY, STUDY]))
    assert page.count("Plotly.newPlot(") == 5
    assert page.count("* plotly.js v") == 1


def test_the_order_of_methods() -> None:
    verdicts = [step.verdict for step in steps(METHODS)]
    assert verdicts == ["too close to tell", "holds", "reversed"]
    assert pairs_in_order(METHODS) == (4, 6)
    line = steps(METHODS)[1]
    assert (line.gap, line.error) == (5.5, pytest.approx(hypot(0.5, 0.5)))


def test_a_study_says_what_was_run_and_why_it_was_not() -> None:
    text = markdown(FOUND)
    assert "1000 training images, 3 epochs, batch 8, 3 seeds, 1000 test images" in text
    assert "tinytl ui DIR/paper-smoke/sweeps/cifar10-cpu-1" in text
    assert "8 of 12 pairs in the paper's order" in text
    assert "no images of it; `tinytl bench run paper-smoke --only grocery-81-full" in text


def test_nothing_is_drawn_of_what_was_not_found() -> None:
    assert "Plotly" not in html_page(Findings(ROWS[1:], [UNTRIED]))
