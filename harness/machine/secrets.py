"""Secrets taken out of text before it is written: known ones, and what looks like one.

A client may print its environment, a driver its connection string, a service its headers.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, quote_plus

from harness.machine.plain import plain

SECRET = "[secret]"  # noqa: S105 - what stands for one

_SHORTEST = 4
"""A shorter secret is found inside of ordinary words, so it is taken only where it stands alone."""

# Names whose value is a secret, as variables, keys of JSON or headers: what they have in them.
_NAMES = (
    # Bounded: open repeats take time that grows with the square of a long word's length. What
    # stands before such a word is left alone, so it need not be looked at.
    r"(?:passw(?:or)?d|passwd|pswd|secret|token|api[_-]?key|auth[_-]?key|access[_-]?key)"
    r"[\w-]{0,60}|(?<![\w-])(?:authorization|cookie)|x-api-key|set-cookie|proxy-authorization"
    r"|METAFLOW_SERVICE_HEADERS"
)
_NAMED = ("passw", "pswd", "secret", "token", "key", "authorization", "cookie", "service_headers")


class _Look(NamedTuple):
    """What a secret looks like.

    Attributes:
        hints: in lower case; a text without any of them is not searched, which takes much longer.
    """

    hints: tuple[str, ...]
    pattern: re.Pattern[str]
    replacement: str | Callable[[re.Match[str]], str]


_LOOKS = (
    # The password in an address: scheme://user:password@host.
    _Look(("://",), re.compile(r"(?<=://)([^\s:/@\"']*):[^\s/\"']+(?=@)"), rf"\1:{SECRET}"),
    # A token in its place: https://token@host.
    _Look(
        ("http://", "https://"),
        re.compile(r"(?i)(\bhttps?://)[^\s:/@\"']+:?(?=@)"),
        rf"\1{SECRET}",
    ),
    # Schemes of the Authorization header.
    _Look(
        ("bearer", "basic"),
        re.compile(r"\b(Bearer|Basic)\s+[A-Za-z0-9._~+/=-]{8,}"),
        rf"\1 {SECRET}",
    ),
    # A header whose value has several parts, each of them secret: to the end of the line, or to a
    # quote or a backslash that ends the text it stands in. A part may be quoted itself.
    _Look(
        ("authorization", "cookie"),
        re.compile(
            r"(?i)(?<![\w-])((?:(?:proxy-)?authorization|(?:set-)?cookie)[ \t]*:[ \t]*"
            r"(?:(?:Bearer|Basic)[ \t]+)?)(?![ \t])"
            r"(?:=\\*\"(?![,:;}\])\s])[^\"\r\n]*\"|[^\"'\\\r\n])+"
        ),
        rf"\g<1>{SECRET}",
    ),
    # Key ids and tokens that show what they are: AWS, GitHub, GitLab, Slack, JSON web tokens.
    _Look(
        ("akia", "asia", "aroa", "aida"),
        re.compile(r"\b(?:AKIA|ASIA|AROA|AIDA)[A-Z0-9]{16}\b"),
        SECRET,
    ),
    _Look(
        ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "xox"),
        re.compile(r"\b(?:gh[pousr]_|github_pat_|glpat-|xox[abprs]-)[A-Za-z0-9_-]{10,}"),
        SECRET,
    ),
    _Look(
        ("eyj",),
        # Where a word begins: else one that is none would be searched from each of its signs.
        re.compile(r"(?<![\w-])eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"),
        SECRET,
    ),
    # A signed S3 address.
    _Look(
        ("x-amz-",),
        re.compile(r"(?i)(X-Amz-(?:Signature|Credential|Security-Token)=)[^&\s\"']+"),
        rf"\1{SECRET}",
    ),
    # NAME=value, "name": "value", name: value, --name value.
    _Look(
        _NAMED,
        re.compile(
            rf"(?i)(?P<name>{_NAMES})(?P<between>\\?[\"']?\s*[=:]\s*)"
            rf"(?P<quote>\\?[\"'])(?P<quoted>(?:(?!(?P=quote)).)+)(?P=quote)"
        ),
        lambda match: f"{match['name']}{match['between']}{match['quote']}{SECRET}{match['quote']}",
    ),
    _Look(
        _NAMED,
        re.compile(
            rf"(?i)(?P<name>{_NAMES})(?P<between>\\?[\"']?\s*[=:]\s*)"
            rf"(?![\s\"'\\]|{re.escape(SECRET)}|(?:Bearer|Basic) "
            # What says that there is none, and what a structure begins with: its parts are seen.
            r"|(?:null|none|true|false)\b|[{\[(])[^\s,;&\"'})\]]+"
        ),
        rf"\g<name>\g<between>{SECRET}",
    ),
    _Look(
        ("password ", "secret ", "token ", "key "),
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


def from_environment(environment: Mapping[str, str]) -> list[str]:
    """Return the secrets that the environment holds for the parts of a run."""
    return [environment[name] for name in _VARIABLES if environment.get(name)]


class Secrets:
    """Takes secrets out of text.

    Args:
        secrets: values that are secret, of one line each; they are also found when quoted.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._known: re.Pattern[str] | None = None
        self._secrets: set[str] = set()
        self.add(secrets)

    def add(self, secrets: Iterable[str]) -> None:
        """Take these out, too, from now on."""
        self._secrets.update(filter(None, secrets))
        forms = {form for secret in self._secrets for form in _forms(secret)}
        # The longest first: one secret may begin with another.
        found = [_searched(form) for form in sorted(forms, key=lambda form: (-len(form), form))]
        self._known = re.compile("|".join(found)) if found else None

    def text(self, text: str) -> str:
        """Return the text without secrets."""
        return by_look(self._known.sub(SECRET, text) if self._known else text)

    def log(self, path: Path) -> None:
        """Write a log anew, without secrets, that its process wrote itself so far."""
        text = path.read_text("utf-8", "replace") if path.is_file() else ""
        clean = self.text(text)
        if clean != text:
            path.write_text(clean, encoding="utf-8")


KNOWN = Secrets()
"""Those of this process: what parts of its run are given, and what they print is cleaned of."""


def by_look(text: str) -> str:
    """Return the text without what looks like a secret."""
    lower = text.lower()
    for look in _LOOKS:
        if any(hint in lower for hint in look.hints):
            text = look.pattern.sub(look.replacement, text)
    return text


def _searched(form: str) -> str:
    found = re.escape(form)
    return found if len(form) >= _SHORTEST else rf"(?<!\w){found}(?!\w)"


def _forms(secret: str) -> set[str]:
    """Return a secret as it is told: bare, in an address, a query, JSON, Python, a shell, SQL."""
    in_python = repr(secret)[1:-1]
    quoted = (secret.replace("\\", "\\\\").replace("'", "\\'"), secret.replace("'", "''"))
    told = {
        *(secret, quote(secret, safe=""), quote_plus(secret)),
        *(json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]),
        *(in_python, ascii(secret)[1:-1], shlex.quote(secret), *quoted),
        # Bytes that are no UTF-8 are written out.
        secret.encode("latin-1", "backslashreplace").decode(errors="backslashreplace"),
    }
    # As a log has it.
    return told | {plain(form) for form in told}
