"""What is shown where not every character can be: signs and dashes become plain words."""

from __future__ import annotations

import codecs
import sys
from typing import IO

_HANDLER = "plain-words"

_INSTEAD = {"…": "...", "–": "-", "·": "*", "×": "x", "≥": ">=", "≤": "<=", "→": "->"}


def shows(stream: IO[str], text: str) -> bool:
    """Tell whether a stream can show a text."""
    try:
        text.encode(getattr(stream, "encoding", None) or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _replace(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    said = error.object[error.start : error.end]
    return "".join(_INSTEAD.get(one) or _written_out(one) for one in said), error.end


def _written_out(character: str) -> str:
    return character.encode("ascii", "backslashreplace").decode()


def show_everything() -> None:
    """Let nothing that is printed end the process, whatever the terminal can show."""
    codecs.register_error(_HANDLER, _replace)
    for stream in (sys.stdout, sys.stderr):
        # Somebody may have put another object there, which knows no encoding.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=_HANDLER)
