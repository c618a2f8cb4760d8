"""Secrets taken out of text before it is written: known ones, and what looks like one.

A client may print its environment, a driver its connection string, a service its headers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from urllib.parse import quote, quote_plus

from harness.core.axes import AXES

SECRET = "[secret]"  # noqa: S105 - what stands for one

_SHORTEST = 4
"""A shorter secret is found inside of ordinary words, so it is taken only where it stands alone."""

# Names whose value is a secret, as variables, keys of JSON or headers.
_NAMES = (
    # Bounded: open repeats take time that grows with the square of a long word's length.
    r"[\w-]{0,60}(?:passw(?:or)?d|passwd|pswd|secret|token|api[_-]?key|auth[_-]?key|access[_-]?key)"
    r"[\w-]{0,60}|(?:proxy-)?authorization|x-api-key|cookie|set-cookie|METAFLOW_SERVICE_HEADERS"
)

_PATTERNS: tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = (
    # The password in an address: scheme://user:password@host.
    (re.compile(r"(?<=://)([^\s:/@\"']*):[^\s/\"']+(?=@)"), rf"\1:{SECRET}"),
    # A token in its place: https://token@host.
    (re.compile(r"(?i)(\bhttps?://)[^\s:/@\"']+:?(?=@)"), rf"\1{SECRET}"),
    # Schemes of the Authorization header.
    (re.compile(r"\b(Bearer|Basic)\s+[A-Za-z0-9._~+/=-]{8,}"), rf"\1 {SECRET}"),
    # A header whose value has several parts, each of them secret: to the end of the line, or to a
    # quote or a backslash that ends the text it stands in. A part may be quoted itself.
    (
        re.compile(
            r"(?i)(?<![\w-])((?:(?:proxy-)?authorization|(?:set-)?cookie)[ \t]*:[ \t]*"
            r"(?:(?:Bearer|Basic)[ \t]+)?)(?![ \t])"
            r"(?:=\\*\"(?![,:;}\])\s])[^\"\r\n]*\"|[^\"'\\\r\n])+"
        ),
        rf"\g<1>{SECRET}",
    ),
    # Key ids and tokens that show what they are: AWS, GitHub, GitLab, Slack, JSON web tokens.
    (re.compile(r"\b(?:AKIA|ASIA|AROA|AIDA)[A-Z0-9]{16}\b"), SECRET),
    (re.compile(r"\b(?:gh[pousr]_|github_pat_|glpat-|xox[abprs]-)[A-Za-z0-9_-]{10,}"), SECRET),
    (re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"), SECRET),
    # A signed S3 address.
    (re.compile(r"(?i)(X-Amz-(?:Signature|Credential|Security-Token)=)[^&\s\"']+"), rf"\1{SECRET}"),
    # NAME=value, "name": "value", name: value, --name value.
    (
        re.compile(
            rf"(?i)(?<![\w-])(?P<name>{_NAMES})(?P<between>\\?[\"']?\s*[=:]\s*)"
            rf"(?P<quote>\\?[\"'])(?P<quoted>(?:(?!(?P=quote)).)+)(?P=quote)"
        ),
        lambda match: f"{match['name']}{match['between']}{match['quote']}{SECRET}{match['quote']}",
    ),
    (
        re.compile(
            rf"(?i)(?<![\w-])(?P<name>{_NAMES})(?P<between>\\?[\"']?\s*[=:]\s*)"
            rf"(?![\s\"'\\]|{re.escape(SECRET)}|(?:Bearer|Basic) )[^\s,;&\"'}})\]]+"
        ),
        rf"\g<name>\g<between>{SECRET}",
    ),
    (
        re.compile(
            # Not what says where it is: harness.cli.secret.
            r"(?i)(?<![\w-])(--[\w-]{0,60}(?:password|secret|token|key)[ ])"
            r"(?!'?(?:env|file):)"
            r"(?:'[^']*'|\"[^\"]*\"|(?!-)\S+)"
        ),
        rf"\1{SECRET}",
    ),
)

_VARIABLES = (
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
    *("METAFLOW_SERVICE_AUTH_KEY", "METAFLOW_SERVICE_HEADERS", "PGPASSWORD"),
)
"""Variables of the harness's own environment whose values a part of a run may be given."""

_OWN = {
    *("kind", "at", "status", "id", "run", "session", "client", "clients", "service", "services"),
    *("service_kind", "datastore", "probe", "probe_digest", "direction", "rollback"),
    *("digest", "of", "runs", "walk"),
}
"""Fields of an entry that the harness wrote itself: ``pass`` may be somebody's password."""

_VARIANTS = {axis.name for axis in AXES}
_OF_CELLS = {"cell", "planned"}
"""In entries of these kinds, such fields are variants; elsewhere one may be a sentence."""

_WHOLE = {"evidence", "log", "provenance", "packages"}
"""Such fields of an entry, with all that is in them; within it they may be names of checks."""


def from_environment(environment: Mapping[str, str]) -> list[str]:
    """Return the secrets that the environment holds for the parts of a run."""
    return [environment[name] for name in _VARIABLES if environment.get(name)]


class Redactor:
    """Takes secrets out of text.

    Args:
        secrets: values that are secret; they are also found when quoted for an address or JSON.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        forms = {form for secret in secrets if secret for form in _forms(secret)}
        # The longest first: one secret may begin with another.
        found = [_searched(form) for form in sorted(forms, key=lambda form: (-len(form), form))]
        self._known = re.compile("|".join(found)) if found else None

    def text(self, text: str) -> str:
        """Return the text without secrets."""
        return _by_look(self._known.sub(SECRET, text) if self._known else text)

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
            return _by_look(value)
        return self._inside(value, own)

    def _inside(self, value: object, own: Collection[str]) -> object:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {key: self._field(key, inside, own) for key, inside in value.items()}
        if isinstance(value, list | tuple):
            return [self._inside(inside, own) for inside in value]
        return value

    def file(self, path: Path) -> None:
        """Rewrite a text file without secrets; what has none, or is no file, is left untouched."""
        if not path.is_file():
            return
        text = path.read_text(encoding="utf-8", errors="replace")
        clean = self.text(text)
        if clean != text:
            path.write_text(clean, encoding="utf-8")


def _by_look(text: str) -> str:
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def _searched(form: str) -> str:
    found = re.escape(form)
    return found if len(form) >= _SHORTEST else rf"(?<!\w){found}(?!\w)"


def _forms(secret: str) -> set[str]:
    # Bare, within an address, within a query, within JSON.
    return {secret, quote(secret, safe=""), quote_plus(secret), json.dumps(secret)[1:-1]}
