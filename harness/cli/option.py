"""What is declared of an option: a value of plain values. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

Value = str | int | float | bool | Path | None
"""What an option is given, as its kind reads it."""


class Role(Enum):
    """What becomes of an option in the line that runs a cell again."""

    AXIS = "the cell, or what was selected, says it"
    CARRIED = "carried, unless it is what it would be unasked"
    REFUSED = "cannot be carried: such cells are refused by rerun"
    NOT_NEEDED = "not needed"


def anything(_: Value) -> str:
    """Find nothing wrong with a value."""
    return ""


def as_text(value: Value) -> str:
    """Return the text that is read as this very value."""
    # The shortest text that is read as this very float; seconds are mostly whole ones.
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)


@dataclass(frozen=True)
class Option:
    """One option, or one argument without dashes, of some sessions.

    Attributes:
        name: with its dashes; an argument's name has none.
        sessions: which take it. What differs in a session is an option of its own.
        group: the heading it stands under in the help.
        help: without the default.
        role: in lines that rerun a cell.
        why: the reason for what is not carried.
        kind: reads the text; ``bool`` is an option without a value.
        default: what it is unasked.
        bare: what an option means that may stand without its value; None where it needs one.
        unasked: the default in words, where its text would not say it.
        metavar: stands for the value in the help.
        choices: all values there are; empty where they cannot be listed.
        aliases: other names.
        count: how many of an argument there may be, in argparse's signs.
        check: returns what is wrong with a value, looked at alone; empty for nothing.
        may_be_empty: an empty value means none, or whoever makes use of it says what is wrong.
        needs: options that must be given too, each with the sentence that says so.
        excludes: options that must not be given too, with that sentence; empty for the usual one.
        backend: the backend that heeds it; empty for every one.
        datastore: the datastore it is about; empty for every one.
        variables: of the environment that are read where it, or a part of it, is left out.
        secret: tells whether a value holds a secret. Then ``env:NAME`` and ``file:PATH`` say where
            the value is, and no line ever holds it.
        dest: its attribute as parsed.
        attribute: of the validated options that holds what came of it.
        write: returns the text of that.
    """

    name: str
    sessions: tuple[str, ...]
    group: str
    help: str
    role: Role
    why: str = ""
    kind: type[str | int | float | Path | bool] = str
    default: Value = None
    bare: str | None = None
    unasked: str = ""
    metavar: str = ""
    choices: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    count: str = ""
    check: Callable[[Value], str] = anything
    may_be_empty: bool = False
    needs: Mapping[str, str] = field(default_factory=dict)
    excludes: Mapping[str, str] = field(default_factory=dict)
    backend: str = ""
    datastore: str = ""
    variables: tuple[str, ...] = ()
    secret: Callable[[str], bool] | None = None
    dest: str = ""
    attribute: str = ""
    write: Callable[..., str] = as_text

    def __post_init__(self) -> None:
        name = self.name.lstrip("-").replace("-", "_")
        object.__setattr__(self, "dest", self.dest or name)
        object.__setattr__(self, "attribute", self.attribute or self.dest)

    @property
    def has_dashes(self) -> bool:
        """Whether it is an option; else it is an argument that is known by its place."""
        return self.name.startswith("-")

    @property
    def default_text(self) -> str:
        """What it is unasked, in words; empty where that goes without saying."""
        if self.unasked or self.default in {None, "", False}:
            return self.unasked
        return as_text(self.default)

    @property
    def variable(self) -> str:
        """The variable that a line names where a secret was written out."""
        return f"COMPAT_{self.name.lstrip('-').replace('-', '_').upper()}"

    def words(self, text: str) -> list[str]:
        """Return it as words of a command line; an option without a value has no use for text."""
        if self.kind is bool or text == self.bare:
            return [self.name]
        # In a word of its own argparse takes such a value for an option.
        return [f"{self.name}={text}"] if text.startswith("-") else [self.name, text]


def listed(text: str | None) -> tuple[str, ...]:
    """Return the parts of a comma list, each once; none where nothing was given."""
    return tuple(dict.fromkeys(part.strip() for part in (text or "").split(",") if part.strip()))
