"""What the output of an installer, uv or pip, tells of the package index. Pure."""

from __future__ import annotations

import re

# Without what stands before an @, and without the path: both can hold a secret.
_HOST = re.compile(r"(https?://)(?:[^\s/]*@)?([^\s/@,`)'\"]+)")

# uv heeds COLUMNS. Causes stand below what they caused, each a line.
_UV_WRAPPED = re.compile(r"\n(?: {4,}|  │ +)")
_UV_SENT = re.compile(r"error sending request for url \((\S+)\)((?:\n  \S.*)*)")
_UV_CAUSE = re.compile(r"^ *(?:cause:|Caused by:|[├╰]─▶) *")
_UV_ANSWERED = re.compile(r"HTTP status \w+ error \(([^)]+)\) for url \((\S+)\)")
# At the last of its retries; what pip says in the end is that there is no such package.
_PIP_SENT = re.compile(r"Retry\(total=0.*after connection broken by (.*): /")
_PIP_INDEXES = re.compile(r"^Looking in indexes: (.*)", re.MULTILINE)
_PIP_DEFAULT = "https://pypi.org"
_SYSTEM = re.compile(r"\[Errno [^\]]*\] ([^'\"\\)]+)")


def index_trouble(output: str) -> str:
    """Return in one line which index cannot be reached, or what it answers; empty where none is.

    Args:
        output: all that the installer printed.
    """
    output = _UV_WRAPPED.sub(" ", output)
    sent = _UV_SENT.search(output)
    if sent:
        last = sent[2].rpartition("\n")[2]
        return _unreachable(_hosts(sent[1]), _UV_CAUSE.sub("", last))
    answered = _UV_ANSWERED.search(output)
    if answered:
        return f"the package index {_hosts(answered[2])} answers: {answered[1]}"
    broken = _PIP_SENT.search(output)
    if broken:
        listed = _PIP_INDEXES.search(output)
        said = _SYSTEM.search(broken[1])
        hosts = _hosts(listed[1] if listed else _PIP_DEFAULT)
        return _unreachable(hosts, said[1].strip() if said else "")
    return ""


def _unreachable(hosts: str, why: str) -> str:
    return f"the package index {hosts} cannot be reached" + (f": {why}" if why else "")


def _hosts(urls: str) -> str:
    """Return scheme and host of each URL in a text, and no more of it."""
    return ", ".join(dict.fromkeys("".join(found) for found in _HOST.findall(urls)))
