"""The harness's own errors: what happened, where, and what to do next.

HarnessError
├── UsageError    bad input; raised before anything starts
└── InfraError    the harness or the machine broke, not the product under test
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class HarnessError(Exception):
    """Base of every error that is shown to a user without a traceback."""


class UsageError(HarnessError):
    """Input that cannot be run: it names what, where and the nearest valid choice."""


class InfraError(HarnessError):
    """A part of the harness or of the machine failed; the product was not judged."""


def in_words(error: BaseException) -> str:
    """Return what an exception says with its type: a ``repr`` loses the one or the other."""
    said = str(error)
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


@contextmanager
def about(option: str) -> Iterator[None]:
    """Begin what a UsageError of the block says with an option, unless it begins with one."""
    try:
        yield
    except UsageError as error:
        if str(error).startswith("--"):
            raise
        raise UsageError(f"{option}: {error}") from error


def nearest(wrong: str, choices: Iterable[str]) -> str:
    """Return a `` (nearest: a, b)`` suffix for an error message, or an empty string."""
    # Below the library's cutoff of 0.6: names as short as versions are rarely so alike.
    close = difflib.get_close_matches(wrong, list(dict.fromkeys(choices)), n=3, cutoff=0.4)
    return f" (nearest: {', '.join(close)})" if close else ""
