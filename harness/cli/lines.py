"""Options as words of the line that runs a cell again. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from harness.cli.declared import options_of
from harness.cli.option import Role


def carried(
    session: str,
    options: object,
    references: Mapping[str, str],
    *,
    backend: str,
    datastore: str,
) -> list[str]:
    """Return what a line of a session has to hold beside what its cell and the selection say.

    Args:
        session: of the line.
        options: the validated options, which hold each one by its ``attribute``.
        references: what is written in place of a secret, by the name of its option.
        backend: of the run; what only another heeds is refused there.
        datastore: of the cell; what is about another is refused without it.
    """
    words: list[str] = []
    for option in options_of(session):
        heeded = option.backend in {"", backend} and option.datastore in {"", datastore}
        if option.role is not Role.CARRIED or not heeded:
            continue
        value = getattr(options, option.attribute)
        if value != option.default:
            words += option.words(references.get(option.name) or option.write(value))
    return words
