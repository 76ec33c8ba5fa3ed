"""The report: the paper's figures and ours, as Markdown and as one page that needs no network."""

import html
from collections.abc import Sequence
from itertools import groupby

from benchmarks.paper import memory
from benchmarks.paper.claims import Claim
from benchmarks.paper.comparison import FAIL, NOT_RUN, NOT_YET, PASS, Row
from benchmarks.paper.plots import plots_html

_STATES = (PASS, FAIL, NOT_RUN, NOT_YET)
_HEADINGS = (
    "row", "column", "unit", "paper", "tolerance", "ours", "difference", "result",
    "measured plain", "measured saving", "measured planned", "why, and how to run it",
)  # fmt: skip
_ABOUT = (
    "*ours* is what the paper's number is held against: for memory the modeled bytes, which is the "
    "paper's own way of counting. What a training step really took stands beside it, in MB (10^6 "
    "bytes), everything counted: plain is stock PyTorch, saving the same step with layers that "
    "keep only what gradients need, planned a step within a budget, whose frozen weights are "
    "stored in 8 bits. The paper's count leaves out gradients, optimizer state, scratch memory and "
    "what the exact gradient of GroupNorm needs, so measured and modeled are not the same quantity."
)


def summary(rows: Sequence[Row]) -> str:
    """Returns how many rows passed, failed, were not run and cannot be run yet."""
    states = [row.state for row in rows]
    counts = (f"{states.count(state)} {state}" for state in _STATES if state in states)
    return f"{len(rows)} claims: {', '.join(counts)}"


def markdown(rows: Sequence[Row]) -> str:
    """Returns the report as Markdown."""
    parts = ["# The paper's figures, reproduced", summary(rows), _ABOUT]
    for title, group in _by_table(rows):
        lines = [_HEADINGS, ("---",) * len(_HEADINGS), *map(_texts, group)]
        parts += [f"## {title}", "\n".join(f"| {' | '.join(line)} |" for line in lines)]
    parts += ["## Where it was found", "\n".join(f"- {line}" for line in _provenance(rows))]
    return "\n\n".join(parts) + "\n"


def html_page(rows: Sequence[Row]) -> str:
    """Returns the report as a page that loads nothing."""
    head = "".join(f"<th>{html.escape(heading)}</th>" for heading in _HEADINGS)
    sections = []
    for title, group in _by_table(rows):
        body = "".join(_html_row(row) for row in group)
        # what nobody can run yet is there to be looked up, and folded away
        opened = "" if all(row.state == NOT_YET for row in group) else " open"
        sections.append(
            f"<details{opened}><summary><h2>{html.escape(title)}</h2> {summary(group)}</summary>"
            f"<div class=wide><table><thead><tr>{head}</tr></thead>"
            f"<tbody>{body}</tbody></table></div></details>"
        )
    origin = "".join(f"<li>{html.escape(line)}</li>" for line in _provenance(rows))
    about = _ABOUT.replace("*ours*", "<em>ours</em>")
    return _PAGE.format(
        summary=summary(rows),
        about=about,
        plots=plots_html(rows),
        sections="\n".join(sections),
        origin=origin,
    )


def _by_table(rows: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    """Returns the rows of each table and quantity, in the order of the claims."""
    groups = groupby(rows, key=lambda row: (row.claim.table, row.claim.quantity))
    return [
        (f"{table}: {quantity.replace('_', ' ')}", list(group))
        for (table, quantity), group in groups
    ]


def _texts(row: Row) -> tuple[str, ...]:
    """Returns a row's cells, those of the headings."""
    claim = row.claim
    ours = difference = ""
    digits = 2 if claim.unit == "x" else 1
    if row.ours is not None:
        # + 0.0 makes 0 of -0
        ours = f"{row.ours:.{digits}f}"
        difference = f"{round(row.ours - claim.value, digits) + 0.0:+.{digits}f}"
    measured = (_megabytes(row.measured.get(name)) for name in memory.MEASURED)
    why = [claim.not_yet, claim.note, f"`{row.command}`" if row.command else ""]
    return (
        claim.row, claim.column, claim.unit, _printed(claim), f"{claim.tolerance:.3g}",
        ours, difference, row.state, *measured, "; ".join(filter(None, why)),
    )  # fmt: skip


def _printed(claim: Claim) -> str:
    """Returns the paper's figure with its digits: megabytes in tables are whole."""
    whole = claim.quantity == "memory" and claim.tolerance >= 0.5 and claim.value.is_integer()
    return f"{claim.value:.0f}" if whole else f"{claim.value:.1f}"


def _megabytes(value: int | None) -> str:
    return "" if value is None else f"{value / 1e6:.1f}"


def _html_row(row: Row) -> str:
    texts = [html.escape(text) for text in _texts(row)]
    *numbers, why = texts
    head, _, command = why.partition("`")
    last = f"{head}<code>{command.rstrip('`')}</code>" if command else head
    mark = row.state.replace(" ", "-")
    cells = "".join(f"<td>{text}</td>" for text in (*numbers, last))
    return f'<tr class="{mark}">{cells}</tr>'


def _provenance(rows: Sequence[Row]) -> list[str]:
    """Returns a line for each machine, commit and set of versions that numbers come from."""
    lines: dict[str, list[str]] = {}
    for row in rows:
        for origin in row.origins:
            packages = ", ".join(f"{name} {number}" for name, number in origin["packages"].items())
            changed = " with uncommitted changes" if origin["uncommitted_changes"] else ""
            line = (
                f"commit {origin['commit'] or 'unknown'}{changed}; {packages}; Python "
                f"{origin['python']}; {origin['system']}, {origin['processor']}, {origin['cpus']} "
                f"processors; measured on {origin['device']}"
            )
            lines.setdefault(line, []).append(origin["when"])
    if not lines:
        return ["nothing has been run yet: tinytl bench run paper-memory"]
    return [f"{line}; from {min(times)} to {max(times)}" for line, times in lines.items()]


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>The paper's figures, reproduced</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; color: #222; }}
body {{ margin: 0 auto; padding: 1rem; max-width: 90rem; }}
h2 {{ display: inline; font-size: 1.2rem; }}
details {{ margin: 1.5rem 0; }}
summary {{ cursor: pointer; }}
li {{ overflow-wrap: anywhere; }}
.plots {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 26rem), 1fr)); }}
.plots > div {{ min-width: 0; }}
.wide {{ overflow-x: auto; }}
table {{ border-collapse: collapse; margin-top: .5rem; }}
th, td {{ padding: .2rem .6rem; text-align: right; border-bottom: 1px solid #e6e6e6; }}
td {{ white-space: nowrap; vertical-align: top; }}
th:nth-child(-n+3), td:nth-child(-n+3), th:last-child, td:last-child {{ text-align: left; }}
td:last-child {{ font-size: .85rem; white-space: normal; min-width: 24rem; }}
.pass td:nth-child(8) {{ color: #00704a; }}
.fail td:nth-child(8) {{ color: #b03a00; font-weight: bold; }}
.not-yet td, .not-run td {{ color: #666; }}
</style>
</head>
<body>
<h1>The paper's figures, reproduced</h1>
<p><strong>{summary}</strong></p>
<p>{about}</p>
<div class="plots">{plots}</div>
{sections}
<h2>Where it was found</h2>
<ul>{origin}</ul>
</body>
</html>
"""
