"""The report: sections of tables and plots, as Markdown and as one page that needs no network."""

from benchmarks.paper.report.findings import Findings, read_findings, summary
from benchmarks.paper.report.markdown import markdown
from benchmarks.paper.report.page import html_page

__all__ = ["Findings", "html_page", "markdown", "read_findings", "summary"]
