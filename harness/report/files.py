"""All files of a report, drawn at once from the same entries."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from harness.core.view import View
from harness.machine.files import write_whole
from harness.report.badge import render_badge
from harness.report.html import render_html
from harness.report.junit import render_junit
from harness.report.markdown import render_markdown
from harness.report.results import render_results

SUMMARY_VARIABLE = "GITHUB_STEP_SUMMARY"
"""Names the file whose Markdown GitHub shows as the summary of a CI step."""


def write_reports(view: View, folder: Path, environment: Mapping[str, str] = os.environ) -> None:
    """Write report.html, junit.xml, report.md, badge.svg and results.json anew.

    The Markdown is also appended to the summary of the CI step, where there is one.

    Args:
        view: the journal; the paths of evidence in it start from ``folder``.
        folder: where to write.
        environment: where the summary of a CI step is named.
    """
    markdown = render_markdown(view)
    renderers: dict[str, Callable[[], Iterable[str]]] = {
        "results.json": lambda: render_results(view),
        "report.html": lambda: render_html(view, folder),
        "junit.xml": lambda: render_junit(view),
        "report.md": lambda: [markdown],
        "badge.svg": lambda: [render_badge(view)],
    }
    # One after the other: of 50,000 cells each takes tens of megabytes.
    for name, render in renderers.items():
        write_whole(folder / name, (piece.encode() for piece in render()))
    if environment.get(SUMMARY_VARIABLE):
        # Appended: other commands of the step may have written to it.
        with Path(environment[SUMMARY_VARIABLE]).open("a", encoding="utf-8") as summary:
            summary.write(markdown)
