"""The report as one page that needs no network."""

import html
import re
from string import Template

from benchmarks.paper.comparison import HOLDS, REVERSED, TOO_CLOSE
from benchmarks.paper.experiments.base import FAIL, NOT_RUN, NOT_YET, PASS
from benchmarks.paper.report.findings import Findings, summary
from benchmarks.paper.report.plots import Plots
from benchmarks.paper.report.sections import ABOUT, TITLE, Section, Table, provenance, sections


def html_page(findings: Findings) -> str:
    """Returns the report as a page that loads nothing."""
    plots = Plots()
    memory = plots.of_memory(findings.rows)
    found = [_section(section, plots) for section in sections(findings)]
    return _PAGE.substitute(
        title=TITLE,
        summary=summary(findings.rows),
        about=_text(ABOUT),
        memory=memory,
        sections="\n".join(found),
        origin="".join(f"<li>{_text(line)}</li>" for line in provenance(findings)),
    )


def _section(section: Section, plots: Plots) -> str:
    opened = " open" if section.opened else ""
    drawn = plots.of_study(section.study) if section.study else ""
    return (
        f"<details{opened}><summary><h2>{_text(section.title)}</h2> {_text(section.summary)}"
        f"</summary>{''.join(f'<p>{_text(text)}</p>' for text in section.paragraphs)}"
        f"{drawn}{''.join(map(_table, section.tables))}</details>"
    )


def _table(table: Table) -> str:
    head = "".join(f"<th>{_text(heading)}</th>" for heading in table.headings)
    body = "".join(map(_row, table.rows, table.states))
    return (
        f"<div class=wide><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _row(texts: tuple[str, ...], state: str) -> str:
    cells = "".join(
        f'<td class="{_kind(text, index)}">{_text(text)}</td>' for index, text in enumerate(texts)
    )
    return f'<tr class="{state.replace(" ", "-")}">{cells}</tr>'


def _kind(text: str, index: int) -> str:
    """Returns how a cell looks: a name, a number, a result, or a sentence that may wrap."""
    if text in _RESULTS:
        return "result"
    if index == 0:
        return "name"
    return "sentence" if " " in text and not text[0].isdigit() else "number"


def _text(text: str) -> str:
    """Returns HTML of a text with `code` and *stress*."""
    escaped = re.sub(r"`([^`]*)`", r"<code>\1</code>", html.escape(text))
    return re.sub(r"\*([a-z]+)\*", r"<em>\1</em>", escaped)


_RESULTS = (PASS, FAIL, NOT_RUN, NOT_YET, HOLDS, REVERSED, TOO_CLOSE)
_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; color: #222; }
body { margin: 0 auto; padding: 1rem; max-width: 90rem; }
h2 { display: inline; font-size: 1.2rem; }
details { margin: 1.5rem 0; }
summary { cursor: pointer; }
p { max-width: 60rem; }
p, li { overflow-wrap: anywhere; }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 26rem), 1fr)); }
.plots > div { min-width: 0; }
.plot { max-width: 60rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: .5rem 0 1rem; }
th, td { padding: .2rem .6rem; text-align: right; border-bottom: 1px solid #e6e6e6; }
th { vertical-align: bottom; }
td { white-space: nowrap; vertical-align: top; }
th:first-child, th:last-child, .name, .result, .sentence { text-align: left; }
.sentence { font-size: .85rem; white-space: normal; min-width: 24rem; }
.pass .result, .holds .result { color: #00704a; }
.fail .result, .reversed .result { color: #b03a00; font-weight: bold; }
.not-yet td, .not-run td { color: #666; }
</style>
</head>
<body>
<h1>$title</h1>
<p><strong>$summary</strong></p>
<p>$about</p>
$memory
$sections
<h2>Where it was found</h2>
<ul>$origin</ul>
</body>
</html>
""")
