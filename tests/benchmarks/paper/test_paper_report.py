"""The report: every claim, what was found, and what was not."""

from html.parser import HTMLParser

import pytest

from benchmarks.paper.claims import Claim, load_claims
from benchmarks.paper.comparison import Row
from benchmarks.paper.plots import curves
from benchmarks.paper.report import html_page, markdown, summary

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
PEAKS = {"plain": 554_600_000, "planned": 14_863_224}
ROWS = [
    Row(BIAS, "pass", 31.96, PEAKS, "tinytl bench", (ORIGIN,)),
    Row(LAST, "fail", 89.0, {}, "tinytl bench", (ORIGIN,)),
    Row(REDUCE, "not run", None, {}, "tinytl bench"),
    Row(claim("Table 2, FT-Last, cars"), "not yet", command="tinytl sweep"),
]  # fmt: skip
# claim's own columns, difference and result, measured: plain, saving, planned
TEXTS = [
    ["TinyTL-B", "memory", "MB", "32", "0.5", "32.0", "+0.0", "pass", "554.6", "", "14.9"],
    ["FT-Last, Inception-V3", "memory", "MB", "94", "2.82", "89.0", "-5.0", "fail", "", "", ""],
    ["FT-Last, Inception-V3", "reduce", "x", "9.0", "0.72", "", "", "not run", "", "", ""],
    ["FT-Last", "cars", "%", "50.9", "1", "", "", "not yet", "", "", ""],
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
        self._inside = tag in ("td", "code")
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
    for rows in (markdown_rows(markdown(ROWS)), Cells(html_page(ROWS)).rows):
        assert texts in [row[:-1] for row in rows]


def test_why_and_how_to_run_it_stand_in_the_last_column() -> None:
    for rows, quote in ((markdown_rows(markdown(ROWS)), "`"), (Cells(html_page(ROWS)).rows, "")):
        last = [row[-1] for row in rows if row]
        assert f"{LAST.note}; {quote}tinytl bench{quote}" in last
        assert f"{ROWS[-1].claim.not_yet}; {quote}tinytl sweep{quote}" in last


def test_nothing_is_left_out() -> None:
    rows = [Row(claim, "not run") for claim in CLAIMS]
    for found in (markdown_rows(markdown(rows)), Cells(html_page(rows)).rows):
        names = [tuple(row[:2]) for row in found if row and row[0] not in ("row", "---")]
        assert names == [(claim.row, claim.column) for claim in CLAIMS]


def test_a_page_loads_nothing_and_shows_text_as_text() -> None:
    page = html_page(ROWS)
    assert Cells(page).loads == []
    assert "&lt;Xeon&gt;" in page and "<Xeon>" not in page


def test_provenance_is_told_once_for_all_rows_of_one_origin() -> None:
    lines = [line for line in markdown(ROWS).splitlines() if line.startswith("- commit")]
    assert len(lines) == 1
    assert "abc with uncommitted changes" in lines[0] and "torch 2" in lines[0]


def test_the_summary_counts() -> None:
    assert summary(ROWS) == "4 claims: 1 pass, 1 fail, 1 not run, 1 not yet"


def test_figures_3_and_5_are_drawn_by_resolution() -> None:
    figure = [claim for claim in CLAIMS if claim.table == "Figure 3" and claim.row == "last"]
    rows = [Row(claim, "pass", 1.0 + i, {"plain": 10**6 * i}) for i, claim in enumerate(figure)]
    resolutions = [160, 192, 224, 256, 288, 320]
    assert curves(rows) == {
        "paper": (resolutions, [18.2, 24.0, 30.8, 38.7, 47.6, 57.6]),
        "modeled": (resolutions, [1, 2, 3, 4, 5, 6]),
        "plain": (resolutions, [0, 1, 2, 3, 4, 5]),
    }
    page = html_page(rows + ROWS)
    assert page.count("Plotly.newPlot(") == 1
    assert Cells(page).loads == []


def test_nothing_is_drawn_of_what_was_not_found() -> None:
    assert "Plotly" not in html_page(ROWS)
