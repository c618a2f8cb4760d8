"""Secrets taken out of text before it is written: known ones, and what looks like one.

A client may print its environment, a driver its connection string, a service its headers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

SECRET = "[secret]"  # noqa: S105 - what stands for one

_SHORTEST = 4
"""A shorter value would be found inside of ordinary words."""

# Names whose value is a secret, as variables, keys of JSON or headers.
_NAMES = (
    r"[\w-]{0,60}(?:passw(?:or)?d|passwd|pswd|secret|token|api[_-]?key|auth[_-]?key|access[_-]?key)"
    r"[\w-]{0,60}|(?:proxy-)?authorization|x-api-key|cookie|set-cookie|METAFLOW_SERVICE_HEADERS"
)

_PATTERNS: tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = (
    # The password in an address: scheme://user:password@host.
    (re.compile(r"(?<=://)([^\s:/@\"']*):[^\s/\"']+(?=@)"), rf"\1:{SECRET}"),
    # Schemes of the Authorization header.
    (re.compile(r"\b(Bearer|Basic)\s+[A-Za-z0-9._~+/=-]{8,}"), rf"\1 {SECRET}"),
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
        re.compile(r"(?i)(--[\w-]{0,60}(?:password|secret|token|key)[ ])(?!-)\S+"),
        rf"\1{SECRET}",
    ),
)

# Variables of the harness's own environment whose values a client may be given.
_VARIABLE = re.compile(rf"(?i)^(?:{_NAMES}|PGPASSWORD)$")


def from_environment(environment: Mapping[str, str]) -> list[str]:
    """Return the values of the variables that hold secrets, by their names."""
    return [value for name, value in environment.items() if _VARIABLE.match(name)]


class Redactor:
    """Takes secrets out of text.

    Args:
        secrets: values that are secret; they are also found when quoted for an address or JSON.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        forms = {form for secret in secrets if len(secret) >= _SHORTEST for form in _forms(secret)}
        # The longest first: one secret may begin with another.
        self._forms = sorted(forms, key=lambda form: (-len(form), form))

    def text(self, text: str) -> str:
        """Return the text without secrets."""
        for form in self._forms:
            text = text.replace(form, SECRET)
        for pattern, replacement in _PATTERNS:
            text = pattern.sub(replacement, text)
        return text

    def value(self, value: Any) -> Any:
        """Return a JSON value with every text in it without secrets; keys stay."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {key: self.value(inside) for key, inside in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(inside) for inside in value]
        return value

    def file(self, path: Path) -> None:
        """Rewrite a text file without secrets; a file that has none is left untouched."""
        text = path.read_text(encoding="utf-8", errors="replace")
        clean = self.text(text)
        if clean != text:
            path.write_text(clean, encoding="utf-8")


def _forms(secret: str) -> set[str]:
    return {secret, quote(secret, safe=""), quote_plus(secret), json.dumps(secret)[1:-1]}
