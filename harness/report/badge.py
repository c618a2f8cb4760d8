"""badge.svg: the totals in one line."""

from __future__ import annotations

from collections.abc import Sequence

from harness.journal import Entry
from harness.report.html import environment
from harness.report.summary import all_green, cells, incomplete, red, stages, totals_line

LABEL = "metaflow compat"
_GREEN, _RED, _GREY = "#1b7a3a", "#c62828", "#59606d"
_CHARACTER = 6.6
"""Width of a character of the font in pixels; ``textLength`` makes any font fit."""


def render_badge(entries: Sequence[Entry]) -> str:
    """Return the image: green when all is as expected, red when something is not, else grey."""
    failed = any(map(red, [*cells(entries), *stages(entries)]))
    unknown = ", incomplete" if incomplete(entries) else ""
    message = (
        f"{'✓' if all_green(entries) else '✗' if failed else '·'} {totals_line(entries)}{unknown}"
    )
    return (
        environment()
        .get_template("badge.svg.j2")
        .render(
            label=LABEL,
            message=message,
            colour=_GREEN if all_green(entries) else _RED if failed else _GREY,
            left=round(len(LABEL) * _CHARACTER + 12),
            right=round(len(message) * _CHARACTER + 12),
        )
    )
