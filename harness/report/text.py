"""Text from clients and services, cut to what is shown: no endless logs, no endless lists."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.machine.plain import plain

EXCERPT_LINES = 200
EXCERPT_BYTES = 20_000

_NAMED = 2
"""How many of many names are told."""

_IN_SECONDS = 15
"""Minutes from which on nobody wants the seconds."""


def excerpt(path: Path) -> str | None:
    """Return the end of a text file as plain text, with a note of what was left out.

    Returns:
        At most ``EXCERPT_LINES`` lines and about ``EXCERPT_BYTES`` bytes; None without the file.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            # From its end, where a log says why; the rest of a long one is never read.
            file.seek(max(0, size - EXCERPT_BYTES))
            end = file.read().decode("utf-8", errors="replace")
    except OSError:
        return None
    cut = size > EXCERPT_BYTES
    lines = plain(end).splitlines()[1 if cut and "\n" in end else 0 :]
    if cut or len(lines) > EXCERPT_LINES:
        lines = [f"… the end of {size} bytes", *lines[-EXCERPT_LINES:]]
    return "\n".join(lines)


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: ``1 cell``, ``2 cells``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def some(names: Sequence[str], noun: str) -> str:
    """Return a few names, and how many more there are: ``basics, card and 5 more probes``."""
    if len(names) <= _NAMED + 1:
        return ", ".join(names)
    return f"{', '.join(names[:_NAMED])} and {len(names) - _NAMED} more {noun}s"


def shortened(text: str, length: int = 240) -> str:
    """Return the text in one line of at most ``length`` characters; the middle is left out."""
    line = " ".join(plain(text).split())
    if len(line) <= length:
        return line
    half = (length - 3) // 2
    return f"{line[:half]} … {line[-half:]}"


def spoken(seconds: float) -> str:
    """Return a time as people say it: ``40 s``, ``6 min 40 s``, ``25 min``, ``2 h 5 min``."""
    whole = round(seconds)
    minutes, hours = whole // 60, whole // 3600
    if not minutes:
        return f"{whole} s"
    if hours:
        return f"{hours} h {minutes % 60} min"
    return f"{minutes} min {whole % 60} s" if minutes < _IN_SECONDS else f"{minutes} min"
