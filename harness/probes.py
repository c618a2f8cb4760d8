"""Probes: what a flow file says of itself, read from its source without importing Metaflow.

A probe is a Metaflow flow in a file. These module-level names make it more than that, all optional:

``CHECKS``  dict of check name to ``{"about": str, "client": range, "service": range}``; the ranges
            are PEP 440 specifiers, and outside of them the check is ``unsupported``. For each name
            the file has a function ``check_NAME(run)`` that asserts on the run read back by the
            client, and may return ``{table: [columns a row must have, …]}``.
``TAGS``    list of tags the run is started with.
``DATASTORES``  list of the datastores the probe is for, ``["s3"]``; with another one all of its
            checks are ``unsupported``. Without it the probe is for all of them.
``ENDS``    ``"failed"`` for a flow that fails on purpose; without it the flow must end well.
``FLOW``    the name of the flow, where the file has several.
``SHOWS``   dict of what the Metaflow UI must show of the run: ``{"log": [step, line], "artifact":
            [name, value], "card": step}``, each of them optional.

A file without ``CHECKS`` is a plain flow; its single check is ``run``. What is declared must stand
there as one literal: what is built when the file runs cannot be read, and is refused.
"""

from __future__ import annotations

import ast
import os
from dataclasses import dataclass
from pathlib import Path

from harness.declarations import Literal, Source, read_source
from harness.errors import UsageError, nearest
from harness.tools import ROOT

FLOWS = ROOT / "flows"

RUN_CHECK = "run"
"""The check every probe has: the run ends as the probe says, is read back so, and has its row."""

COMPLETED, FAILED = "completed", "failed"
"""How a run ends, in the words of the Metaflow UI."""


@dataclass(frozen=True)
class Check:
    """One capability a probe asserts.

    Attributes:
        name: what reports show.
        about: what it asserts, in words.
        client: PEP 440 range of clients that can do it; empty for all.
        service: the same for the version that the service reports to clients.
    """

    name: str
    about: str
    client: str = ""
    service: str = ""


@dataclass(frozen=True)
class Shows:
    """What the Metaflow UI must show of a probe's run, beside what rows tell.

    Attributes:
        log: a step, and a line that its first task printed to stdout; None without.
        artifact: the name and the text of an artifact to search for; None without.
        card: the step whose task has a card, where the client has cards; empty without.
    """

    log: tuple[str, str] | None = None
    artifact: tuple[str, str] | None = None
    card: str = ""


@dataclass(frozen=True)
class Probe:
    """A flow file and what is checked on its run."""

    name: str
    path: Path
    flow: str
    checks: tuple[Check, ...]
    tags: tuple[str, ...]
    datastores: tuple[str, ...] = ()
    """The datastores it is for; empty for all."""
    ends: str = COMPLETED
    """How its run must end: ``completed`` or ``failed``."""
    shows: Shows = Shows()


_RUN_ABOUT = {
    COMPLETED: "the run ends well, is read back finished, and has its row",
    FAILED: "the run fails as it should, is read back so, and has its row",
}

STORED = Check("stored", "what the client says it stored lies in the object store")
"""The check every cell with S3 data has: artifacts, their rows and the objects agree."""

DATASTORES = ("local", "s3")
"""The datastores there are."""

_NAMES = ("FLOW", "CHECKS", "TAGS", "DATASTORES", "ENDS", "SHOWS")
_RESERVED = (RUN_CHECK, STORED.name)


def find_probes(folder: Path) -> dict[str, Probe]:
    """Return the probes of a folder by name (the file's stem), in order of name.

    Raises:
        UsageError: when the folder is not there to be read, holds no flow, or a probe is malformed.
    """
    if not (os.access(folder, os.R_OK | os.X_OK) and folder.is_dir()):
        raise UsageError(f"--flow-dir {folder}: no such folder, or no right to read it")
    probes = (read_probe(path) for path in sorted(folder.glob("*.py")))
    found = {probe.name: probe for probe in probes if probe is not None}
    if not found:
        raise UsageError(f"--flow-dir {folder}: no file in it defines a flow (a class of FlowSpec)")
    return found


def select_probes(available: dict[str, Probe], text: str) -> tuple[Probe, ...]:
    """Return the probes named in a comma list, or those of ``all``, each once.

    Raises:
        UsageError: naming the nearest probes, for one that does not exist or an empty list.
    """
    if text.strip() == "all":
        return tuple(available.values())
    names = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not names:
        raise UsageError("--probe: the list is empty; available: " + ", ".join(available))
    for name in names:
        if name not in available:
            raise UsageError(
                f"--probe {name}: no such probe{nearest(name, available)};"
                f" available: {', '.join(available)}"
            )
    return tuple(available[name] for name in names)


def read_probe(path: Path) -> Probe | None:
    """Read one file; None when it holds no flow.

    Raises:
        UsageError: for a file that cannot be read as Python, or whose declarations are malformed.
    """
    source = read_source(path)
    if not any(_is_flow(node) for node in source.classes):
        return None
    declared = source.literals(_NAMES)
    ends = declared["ENDS"].one_of(_RUN_ABOUT) if "ENDS" in declared else COMPLETED
    entries = declared["CHECKS"].entries() if "CHECKS" in declared else {}
    checks = [_check(source, name, entry) for name, entry in entries.items()]
    return Probe(
        name=path.stem,
        path=path,
        flow=_flow(source, declared.get("FLOW")),
        checks=(Check(RUN_CHECK, _RUN_ABOUT[ends]), *checks),
        tags=declared["TAGS"].texts() if "TAGS" in declared else (),
        datastores=_datastores(declared.get("DATASTORES")),
        ends=ends,
        shows=_shows(declared.get("SHOWS")),
    )


def _is_flow(node: ast.ClassDef) -> bool:
    return any(
        (base.id if isinstance(base, ast.Name) else getattr(base, "attr", "")) == "FlowSpec"
        for base in node.bases
    )


def _flow(source: Source, declared: Literal | None) -> str:
    """Return the name of the flow; which of several it is must be declared."""
    flows = [node for node in source.classes if _is_flow(node)]
    if declared is not None:
        # It may be a flow by way of another one.
        return declared.one_of([node.name for node in source.classes])
    if len(flows) > 1:
        names = ", ".join(node.name for node in flows)
        raise UsageError(
            f"{source.path}:{flows[1].lineno}: the file has several flows ({names});"
            f' say which one is run: FLOW = "{flows[0].name}"'
        )
    return flows[0].name


def _datastores(declared: Literal | None) -> tuple[str, ...]:
    if declared is None:
        return ()
    found = tuple(item.one_of(DATASTORES) for item in declared.items())
    if not found:
        raise declared.error(" is empty: the probe would be for none")
    return found


def _shows(declared: Literal | None) -> Shows:
    pairs: dict[str, tuple[str, str]] = {}
    card = ""
    for name, part in (declared.entries() if declared else {}).items():
        match name, part.value:
            case "log" | "artifact", [str(first), str(second)]:
                pairs[str(name)] = (first, second)
            case "card", str(step):
                card = step
            case _:
                raise part.error(
                    ": expected 'log' with [step, line], 'artifact' with [name, value], or 'card'"
                    " with a step"
                )
    return Shows(pairs.get("log"), pairs.get("artifact"), card)


def _check(source: Source, name: object, entry: Literal) -> Check:
    if not isinstance(name, str) or not isinstance(entry.value, dict) or "about" not in entry.value:
        raise entry.error(": a name with a dict that has 'about' is expected")
    if name in _RESERVED:
        reserved = " and ".join(_RESERVED)
        raise entry.error(f": the name is reserved: every cell makes checks named {reserved}")
    fields = entry.fields(("about", "client", "service"))
    function = source.functions.get(f"check_{name}")
    if function is None:
        raise entry.error(f": the file has no function check_{name}(run)")
    ranges = {side: fields[side].specifier() for side in ("client", "service") if side in fields}
    return Check(name, fields["about"].text(), **ranges)
