"""Secrets on a command line: named by where they are, so that no line has to hold one."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from harness.machine.errors import UsageError

_VARIABLE, FILE = "env:", "file:"


def is_reference(text: str, holds: Callable[[str], bool]) -> bool:
    """Tell whether a value says where the secret is, in place of the secret.

    Args:
        text: the value.
        holds: tells whether a value of the option holds a secret. Where not every one does, the
            option takes URLs, and ``file://…`` is one.
    """
    is_url = text.startswith(f"{FILE}//") and not holds("")
    return text.startswith((_VARIABLE, FILE)) and not is_url


def read_secret(option: str, text: str) -> str:
    """Return the secret that ``env:NAME`` or ``file:PATH`` names, or the one that is written out.

    A file may end its line: that is not part of the secret.

    Raises:
        UsageError: for one that is not there or cannot be a secret; it is never repeated.
    """
    named = f"{option} {text}" if text.startswith((_VARIABLE, FILE)) else option
    found = _found(named, text)
    if not found:
        raise UsageError(f"{named}: it is empty")
    if any(sign in found for sign in "\r\n\0"):
        raise UsageError(f"{named}: it holds a line break or a NUL, which no secret can have here")
    # A variable may hold other bytes than UTF-8, which Python keeps as halves of characters.
    if not found.isascii() and found != found.encode(errors="replace").decode():
        raise UsageError(f"{named}: it is no text in UTF-8")
    return found


def _found(named: str, text: str) -> str:
    if text.startswith(_VARIABLE):
        name = text.removeprefix(_VARIABLE)
        if name not in os.environ:
            raise UsageError(f"{named}: the variable {name or '(without a name)'} is not set")
        return os.environ[name]
    if text.startswith(FILE):
        return _content(named, Path(text.removeprefix(FILE)).expanduser())
    return text


def _content(named: str, path: Path) -> str:
    try:
        text = path.read_bytes().decode()
    except OSError as error:
        raise UsageError(f"{named}: the file cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{named}: the file is no text in UTF-8") from error
    return text.removesuffix("\n").removesuffix("\r")
