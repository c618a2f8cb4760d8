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
``SHOWS``   dict of what the Metaflow UI must show of the run: ``{"log": [step, line], "artifact":
            [name, value], "card": step}``, each of them optional.

A file without ``CHECKS`` is a plain flow; its single check is ``run``.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.specifiers import InvalidSpecifier, SpecifierSet

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

    @functools.cached_property
    def digest(self) -> str:
        """Of its content: what another content answered tells nothing of this one."""
        try:
            return hashlib.sha256(self.path.read_bytes()).hexdigest()[:16]
        except OSError:
            return ""  # nobody has the file


_RUN_ABOUT = {
    COMPLETED: "the run ends well, is read back finished, and has its row",
    FAILED: "the run fails as it should, is read back so, and has its row",
}

STORED = Check("stored", "what the client says it stored lies in the object store")
"""The check every cell with S3 data has: artifacts, their rows and the objects agree."""


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
    try:
        module = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    except (SyntaxError, ValueError, OSError) as error:
        raise UsageError(f"{path}: cannot be read as Python: {error}") from error
    classes = [node for node in module.body if isinstance(node, ast.ClassDef)]
    flow = next((node.name for node in classes if _is_flow(node)), None)
    if flow is None:
        return None
    functions = {node.name for node in module.body if isinstance(node, ast.FunctionDef)}
    declared = _literal(path, module, "CHECKS", dict)
    ends = _literal(path, module, "ENDS", str) or COMPLETED
    if ends not in _RUN_ABOUT:
        raise UsageError(f"{path}: ENDS is {ends!r}; {' or '.join(_RUN_ABOUT)} is expected")
    checks = [Check(RUN_CHECK, _RUN_ABOUT[ends])]
    checks += [_check(path, name, entry, functions) for name, entry in declared.items()]
    tags = _literal(path, module, "TAGS", list)
    datastores = _literal(path, module, "DATASTORES", list)
    return Probe(
        name=path.stem,
        path=path,
        flow=flow,
        checks=tuple(checks),
        tags=tuple(tags),
        datastores=tuple(datastores),
        ends=ends,
        shows=_shows(path, _literal(path, module, "SHOWS", dict)),
    )


def _is_flow(node: ast.ClassDef) -> bool:
    return any(
        (base.id if isinstance(base, ast.Name) else getattr(base, "attr", "")) == "FlowSpec"
        for base in node.bases
    )


def _literal(path: Path, module: ast.Module, name: str, kind: type) -> Any:
    for node in module.body:
        if isinstance(node, ast.Assign) and [ast.unparse(t) for t in node.targets] == [name]:
            try:
                value = ast.literal_eval(node.value)
            except ValueError as error:
                raise UsageError(f"{path}:{node.lineno}: {name} is not a literal") from error
            if not isinstance(value, kind):
                raise UsageError(f"{path}:{node.lineno}: {name} is not a {kind.__name__}")
            return value
    return kind()


def _shows(path: Path, declared: dict[object, object]) -> Shows:
    for name, value in declared.items():
        pair = isinstance(value, list) and [type(part) for part in value] == [str, str]
        if not (pair if name in {"log", "artifact"} else name == "card" and isinstance(value, str)):
            raise UsageError(
                f"{path}: SHOWS[{name!r}]: expected 'log' with [step, line], 'artifact' with"
                " [name, value], or 'card' with a step"
            )
    values: dict[str, Any] = {
        str(name): tuple(value) if isinstance(value, list) else value
        for name, value in declared.items()
    }
    return Shows(**values)


def _check(path: Path, name: object, entry: object, functions: set[str]) -> Check:
    where = f"{path}: CHECKS[{name!r}]"
    if not isinstance(name, str) or not isinstance(entry, dict) or "about" not in entry:
        raise UsageError(f"{where}: a name with a dict that has 'about' is expected")
    unknown = set(entry) - {"about", "client", "service"}
    if unknown:
        raise UsageError(f"{where}: unknown field {min(unknown)!r}")
    if f"check_{name}" not in functions:
        raise UsageError(f"{where}: the file has no function check_{name}(run)")
    for side in ("client", "service"):
        try:
            SpecifierSet(entry.get(side, ""))
        except InvalidSpecifier as error:
            raise UsageError(f"{where}: {side}: {error}") from error
    return Check(name, entry["about"], entry.get("client", ""), entry.get("service", ""))
