"""Entries of the journal without secrets, and with text of products made harmless."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from harness.core.axes import AXES
from harness.machine.plain import cut, plain
from harness.machine.secrets import Secrets, by_look

_LONGEST = 20_000
"""Characters of a text: whoever reads an entry wants its reason, not a flood in it."""

_OWN = {
    *("kind", "at", "status", "id", "run", "session", "client", "clients", "service", "services"),
    *("service_kind", "datastore", "probe", "probe_digest", "direction", "rollback"),
    *("digest", "of", "runs", "walk"),
}
"""Fields of an entry that the harness wrote itself: ``pass`` may be somebody's password."""

_VARIANTS = {axis.name for axis in AXES}
_OF_CELLS = {"cell", "planned"}
"""In entries of these kinds, such fields are variants; elsewhere one may be a sentence."""

_WHOLE = {"evidence", "log", "provenance", "packages", "reused", "inferred"}
"""Such fields of an entry, with all that is in them; within it they may be names of checks."""


class Redactor:
    """Takes secrets out of entries.

    Args:
        secrets: values that are secret; they are also found when quoted for an address or JSON.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets = Secrets(secrets)

    def text(self, text: str) -> str:
        """Return the text without secrets, harmless, and no longer than anybody reads."""
        return cut(self._secrets.text(plain(text)), _LONGEST)

    def entry(self, entry: Mapping[str, object]) -> dict[str, object]:
        """Return the fields of an entry of the journal with their texts without secrets.

        Keys stay, and what the harness itself wrote. A rerun line, which is to work, is cleaned by
        look alone: a password may be a word of it.
        """
        own = _OWN | _VARIANTS if entry.get("kind") in _OF_CELLS else _OWN
        return {
            key: value if key in _WHOLE else self._field(key, value, own)
            for key, value in entry.items()
        }

    def _field(self, key: str, value: object, own: Collection[str]) -> object:
        # Else a password like "pass" or "2.5" would be cut out of what reports go by.
        if key in own and not isinstance(value, Mapping):  # there is a check named run
            return value
        if key == "rerun" and isinstance(value, str):
            return by_look(value)
        return self._inside(value, own)

    def _inside(self, value: object, own: Collection[str]) -> object:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {key: self._field(key, inside, own) for key, inside in value.items()}
        if isinstance(value, list | tuple):
            return [self._inside(inside, own) for inside in value]
        return value
