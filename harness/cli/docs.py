"""docs/options.md, made from what is declared: ``python -m harness.cli.docs`` writes it."""

from __future__ import annotations

from collections.abc import Iterator

from harness.cli.declared import options_of
from harness.cli.option import Option, Role
from harness.cli.parser import SESSIONS
from harness.machine.tools import ROOT

FILE = ROOT / "docs" / "options.md"

_HEAD = """\
# Options

What follows `--`, by session. This page is made from the declarations in `harness/cli/declarations`
by `python -m harness.cli.docs`; `nox -s SESSION -- --help` says the same. Each option is given
once, as `--name value` or `--name=value`.

**Rerun** says what becomes of an option in the line that runs a cell again: *cell* is what the cell
and the selection say, *carried* is in the line unless it is the default. What only containers heed,
or what is about S3, is carried only where there are such.

A **secret** (`--database-password`, or the password or token in the URL of a clone) can be given as
`env:NAME` or `file:PATH`: the value is that of the variable, or what the file holds without the end
of its line. Lines that rerun a cell hold no secret. One that was written out is named there as
`env:COMPAT_DATABASE_PASSWORD` (`env:COMPAT_CHECKOUT`, `env:COMPAT_UI_CHECKOUT`). `nox -s rerun`
runs nothing while a variable or file that a line names is missing, and says which, for which cells.
The lines of `ui` name a `--database-url` without its password: that is `PGPASSWORD`.
"""
_WITHOUT_LINES = {"bisect", "report", "diff", "rerun", "clean"}
"""Sessions no cell comes of."""


def page() -> str:
    """Return the whole page."""
    lines = [_HEAD, *(line for name in SESSIONS for line in _table(name))]
    return "\n".join(lines).rstrip("\n") + "\n"


def _table(session: str) -> Iterator[str]:
    columns = ["option", "does", "default", "variables", "rerun"]
    count = 4 if session in _WITHOUT_LINES else 5
    yield f"## {session}"
    yield _row(columns[:count])
    yield f"|{'---|' * count}"
    for option in options_of(session):
        yield _row(_cells(option)[:count])
    yield ""


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _cells(option: Option) -> list[str]:
    value = option.metavar or "|".join(option.choices) or option.dest.upper()
    wanted = option.has_dashes and option.kind is not bool
    value = f"[{value}]" if option.bare else value
    names = [f"{option.name} {value}" if wanted else option.name, *option.aliases]
    named = ", ".join(f"`{name}`" for name in names)
    variables = ", ".join(f"`{name}`" for name in option.variables)
    return [named, option.help, option.default_text, variables, _rerun(option)]


def _rerun(option: Option) -> str:
    """Return what becomes of an option in the line that runs a cell again."""
    word = {Role.AXIS: "cell", Role.CARRIED: "carried"}.get(option.role, "no")
    return f"{word}: {option.why}" if option.why else word


if __name__ == "__main__":
    FILE.write_text(page(), encoding="utf-8")
