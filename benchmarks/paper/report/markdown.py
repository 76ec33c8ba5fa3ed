"""The report as Markdown."""

from benchmarks.paper.report.findings import Findings, summary
from benchmarks.paper.report.sections import ABOUT, TITLE, Table, provenance, sections


def markdown(findings: Findings) -> str:
    """Returns the report as Markdown."""
    parts = [f"# {TITLE}", summary(findings.rows), ABOUT]
    for section in sections(findings):
        parts += [f"## {section.title}", section.summary, *section.paragraphs]
        parts += map(_table, section.tables)
    lines = "\n".join(f"- {line}" for line in provenance(findings))
    return "\n\n".join([*parts, "## Where it was found", lines]) + "\n"


def _table(table: Table) -> str:
    lines = [table.headings, ("---",) * len(table.headings), *table.rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
