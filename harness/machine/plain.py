"""Text that a product printed, made harmless where it enters: nothing in it acts on who shows it.

A terminal obeys escape sequences, XML and JSON cannot hold some characters, and others end lines or
turn their direction round.
"""

from __future__ import annotations

import re

# Of terminals: CSI (colours, cursor), those with an end of their own (titles, links), the rest.
_ESCAPES = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\x07\x1b\n]*(?:\x07|\x1b\\)|[ -/]*[0-~])"
)
_LINE_ENDS = re.compile(r"\r\n?")
_HARMFUL = re.compile(
    "[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f"  # controls, but for tabs and line ends
    "\\u2028\\u2029"  # they end lines, for some
    "\\u061c\\u200e\\u200f\\u202a-\\u202e\\u2066-\\u2069"  # they turn round what follows
    "\\ud800-\\udfff\\ufdd0-\\ufdef\\ufffe\\uffff]"  # halves of characters, and what is none
)


def plain(text: str) -> str:
    r"""Return the text without escape sequences, and with harmful characters written out.

    What is left can stand in a terminal, in UTF-8, JSON and XML 1.0. Line ends become ``\n``; a
    NUL is written ``\x00``, half of a character ``\udc80``. Doing it twice changes nothing more.
    """
    return _HARMFUL.sub(_written_out, _LINE_ENDS.sub("\n", _ESCAPES.sub("", text)))


def _written_out(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"  # noqa: PLR2004 - two digits


def cut(text: str, longest: int) -> str:
    """Return a text of about ``longest`` characters at most; a note tells what the middle lost."""
    left_out = len(text) - longest
    if left_out <= 0:
        return text
    half = longest // 2
    return f"{text[:half]}[… {left_out} characters are left out …]{text[len(text) - half :]}"
