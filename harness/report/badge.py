"""badge.svg: the totals in one line."""

from __future__ import annotations

from harness.core.view import View, red
from harness.report.html import environment
from harness.report.summary import totals_line

LABEL = "metaflow compat"
_GREEN, _RED, _GREY = "#1b7a3a", "#c62828", "#59606d"
_CHARACTER = 6.6
"""Width of a character of the font in pixels; ``textLength`` makes any font fit."""


def render_badge(view: View) -> str:
    """Return the image: green when all is as expected, red when something is not, else grey."""
    failed = any(map(red, view.finished)) or any(map(red, view.stages))
    unknown = ", incomplete" if view.incomplete else ""
    good = view.green
    message = f"{'✓' if good else '✗' if failed else '·'} {totals_line(view)}{unknown}"
    return (
        environment()
        .get_template("badge.svg.j2")
        .render(
            label=LABEL,
            message=message,
            colour=_GREEN if good else _RED if failed else _GREY,
            left=round(len(LABEL) * _CHARACTER + 12),
            right=round(len(message) * _CHARACTER + 12),
        )
    )
