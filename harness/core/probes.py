"""Probes: what a flow file says of itself, read from its source without importing Metaflow.

A probe is a Metaflow flow in a file. These module-level names make it more than that, all optional:

``CHECKS``  dict of check name to ``{"about": str, "client": range, "writer": range, "service":
            range, "release": range, "action": name, "package": name}``; the ranges are
            PEP 440 specifiers, and outside of them, and without the package that is needed beside
            the client, the check is ``unsupported``. For each name the file has a function
            ``check_NAME(run)`` that asserts on the run read back by the client, and may return
            ``{table: [columns a row must have, …]}``. It judges the result of one action: that of
            the first run, unless it says which.
``ACTIONS``  list of what is done with the flow, in order; see ``Action``. Without it the flow is
            run, and read back.
``TAGS``    list of tags every run is started with.
``DATASTORES``  list of the datastores the probe is for, ``["s3"]``; with another one all of its
            checks are ``unsupported``. Without it the probe is for all of them.
``PACKAGES``  list of what is installed beside Metaflow, as pip takes it: ``["kubernetes"]``, for
            flows that use optional parts of it.
``ENDS``    ``"failed"`` for a flow that fails on purpose; without it the flow must end well. With
            ``ACTIONS`` each of them says it.
``COVERED_BY``  the name of a probe that sees all that this one sees: ``all`` takes that one.
``FLOW``    the name of the flow, where the file has several.
``SHOWS``   dict of what the Metaflow UI must show of the run: ``{"log": [step, line], "artifact":
            [name, value], "card": step, "steps": {step: number of its tasks}}``, each of them
            optional; the steps are those that every run of it has that ends as it should.

A file without ``CHECKS`` is a plain flow; its single check is ``run``. What is declared must stand
there as one literal: what is built when the file runs cannot be read, and is refused.
"""

from __future__ import annotations

import ast
import functools
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from harness.core.actions import (
    COMPLETED,
    FIRST_RUN,
    RANGES,
    ROLES,
    RUN_ABOUT,
    Action,
    both,
    parse_actions,
)
from harness.core.declarations import Literal, Source, parse_source, read_content
from harness.core.used_files import digest_of
from harness.machine.errors import UsageError, nearest
from harness.machine.tools import ROOT

FLOWS = ROOT / "flows"

RUN_CHECK = FIRST_RUN
"""The check every probe has: the run ends as the probe says, is read back so, and has its row."""


@dataclass(frozen=True)
class Check:
    """One capability a probe asserts.

    Attributes:
        name: what reports show.
        about: what it asserts, in words.
        client: PEP 440 range of clients that can do it; empty for all.
        writer: the same for the client that wrote what it reads, where that is another one.
        service: the same for the version that the service reports to clients.
        release: the same for the service's own version, whatever it reports: of what clients should
            be able to do with it.
        action: the action whose result it judges.
        package: the normalized name of what must be installed beside the client; empty for nothing.
        wants: what its function is called with, of ``PROVIDED``.
    """

    name: str
    about: str
    client: str = ""
    service: str = ""
    action: str = RUN_CHECK
    wants: tuple[str, ...] = ("run",)
    release: str = ""
    writer: str = ""
    package: str = ""

    @property
    def of_first_run(self) -> bool:
        """Whether the first run is all it looks at: then it can be made again at any time."""
        return self.action == RUN_CHECK and set(self.wants) <= {"run"}


@dataclass(frozen=True)
class Shows:
    """What the Metaflow UI must show of a probe's run, beside what rows tell.

    Attributes:
        log: a step, and a line that its first task printed to stdout; None without.
        artifact: the name and the text of an artifact to search for; None without.
        card: the step whose task has a card, where the client has cards; empty without.
        steps: steps that every run has which ends as an action says, and how many tasks each has.
    """

    log: tuple[str, str] | None = None
    artifact: tuple[str, str] | None = None
    card: str = ""
    steps: tuple[tuple[str, int], ...] = ()


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
    packages: tuple[str, ...] = ()
    """Requirements that are installed beside the client's own."""
    ends: str = COMPLETED
    """How its run must end: ``completed`` or ``failed``."""
    shows: Shows = Shows()
    actions: tuple[Action, ...] = (Action("run", "run"), Action("read", "read"))
    """What is done, in order; the first run is called ``run``, and a read is the last."""
    covered_by: str = ""
    """The probe that sees all that it sees; empty for none."""
    digest: str = ""
    """SHA-256 of the file and of what it uses of the files beside it, in hex."""

    def is_for(self, datastore: str) -> bool:
        """Tell whether it makes sense with a kind of data."""
        return not self.datastores or datastore in self.datastores

    def action(self, name: str) -> Action:
        """Return the action of a name."""
        return next(action for action in self.actions if action.name == name)

    @functools.cached_property
    def resumer_actions(self) -> frozenset[str]:
        """The names of what a resumer does, and of what uses that."""
        found: set[str] = set()
        for action in self.actions:
            if action.role == "resumer" or found.intersection(action.needs):
                found.add(action.name)
        return frozenset(found)

    @functools.cached_property
    def checks_of_others(self) -> tuple[Check, ...]:
        """Those that can be made where nobody resumes."""
        return tuple(check for check in self.checks if not self._needs_resumer(check))

    @functools.cached_property
    def checks_of_resumer(self) -> tuple[Check, ...]:
        """Those of what a resumer does, and of the actions that it needs for that."""
        needed = {RUN_CHECK}
        # Backwards: what is needed may itself need what was done before.
        for action in reversed(self.actions):
            if action.name in self.resumer_actions or action.name in needed:
                needed.update((action.name, *action.needs))
        return tuple(
            check for check in self.checks if check.name in needed or self._needs_resumer(check)
        )

    def _needs_resumer(self, check: Check) -> bool:
        # What looks at the results of all actions may look at any of them.
        at_all = bool({"runs", "outputs"}.intersection(check.wants))
        return check.action in self.resumer_actions or (at_all and bool(self.resumer_actions))


STORED = Check("stored", "what the client says it stored lies in the object store")
"""The check every cell with S3 data has: artifacts, their rows and the objects agree."""

ROWS = "rows"
PROVIDED = ("run", "runs", "output", "outputs", ROWS)
"""What a check's function may ask for by name. The run, and what was printed, of its action; those
of all actions by name; and the rows that the database has of the run, by table."""

DATASTORES = ("local", "s3")
"""The datastores there are."""

_NAMES = (
    *("FLOW", "CHECKS", "ACTIONS", "TAGS", "DATASTORES", "PACKAGES", "ENDS", "SHOWS"),
    "COVERED_BY",
)


def find_probes(folder: Path) -> dict[str, Probe]:
    """Return the probes of a folder by name (the file's stem), in order of name.

    Raises:
        UsageError: when the folder is not there to be read, holds no flow, or a probe is malformed.
    """
    # Asked before: of a folder that may not be read, glob() silently yields nothing.
    if not (os.access(folder, os.R_OK | os.X_OK) and folder.is_dir()):
        raise UsageError(f"--flow-dir {folder}: no such folder, or no right to read it")
    probes = (read_probe(path) for path in sorted(folder.glob("*.py")))
    found = {probe.name: probe for probe in probes if probe is not None}
    if not found:
        raise UsageError(f"--flow-dir {folder}: no file in it defines a flow (a class of FlowSpec)")
    return found


def select_probes(available: Mapping[str, Probe], text: str) -> tuple[Probe, ...]:
    """Return the probes named in a comma list, or those of ``all``, each once.

    ``all`` leaves out what another of the probes covers: it would cost, and see nothing more.

    Raises:
        UsageError: naming the nearest probes, for one that does not exist or an empty list.
    """
    if text.strip() == "all":
        covering = {name for name, probe in available.items() if not probe.covered_by}
        return tuple(one for one in available.values() if one.covered_by not in covering)
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


def packages_of(requirements: Iterable[str]) -> set[str]:
    """Return the normalized names of the packages that requirements are about."""
    return {canonicalize_name(Requirement(text).name) for text in requirements}


def read_probe(path: Path) -> Probe | None:
    """Read one file; None when it holds no flow.

    Raises:
        UsageError: for a file that cannot be read as Python, or whose declarations are malformed.
    """
    content = read_content(path)
    probe = _probe_of(path, content)
    return probe and replace(probe, digest=digest_of(path, content))


# Options are parsed when nox loads, and again for each session's plan.
@functools.cache
def _probe_of(path: Path, content: bytes) -> Probe | None:
    """Return the probe of a file with this content, its digest left empty; None for no flow."""
    source = parse_source(path, content)
    if not any(_is_flow(node) for node in source.classes):
        return None
    declared = source.literals(_NAMES)
    actions = _actions(declared)
    own = tuple(_check_of(action) for action in actions if action.verb != "read")
    entries = declared["CHECKS"].entries() if "CHECKS" in declared else {}
    checks = tuple(_check(source, name, entry, actions) for name, entry in entries.items())
    _refuse_reads(declared, actions, checks)
    probe = Probe(
        name=path.stem,
        path=path,
        flow=_flow(source, declared.get("FLOW")),
        checks=(*own, *checks),
        tags=declared["TAGS"].texts() if "TAGS" in declared else (),
        datastores=_datastores(declared.get("DATASTORES")),
        packages=_packages(declared.get("PACKAGES")),
        ends=next(action.ends for action in actions if action.name == FIRST_RUN),
        shows=_shows(declared.get("SHOWS")),
        actions=actions,
        covered_by=declared["COVERED_BY"].text() if "COVERED_BY" in declared else "",
        digest="",
    )
    # Last: what is wrong with a declaration is nearer to the cause.
    _refuse_unasked(source, checks)
    return probe


def _actions(declared: Mapping[str, Literal]) -> tuple[Action, ...]:
    ends = declared.get("ENDS")
    if "ACTIONS" in declared:
        if ends is not None:
            raise ends.error(" is said by each action where there are ACTIONS")
        return parse_actions(declared["ACTIONS"])
    how = ends.one_of(RUN_ABOUT) if ends else COMPLETED
    run = Action("run", FIRST_RUN, ROLES["run"], about=RUN_ABOUT[how], ends=how)
    return (run, Action("read", "read", ROLES["read"]))


def _check_of(action: Action) -> Check:
    """Return the check that an action ends as it should."""
    return Check(
        action.name,
        action.about,
        action.client,
        action.service,
        action.name,
        release=action.release,
        writer=action.client,
    )


def _is_flow(node: ast.ClassDef) -> bool:
    return any(
        # FlowSpec or metaflow.FlowSpec: unimported, a base is known by its last word alone.
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


def _packages(declared: Literal | None) -> tuple[str, ...]:
    return tuple(item.requirement() for item in declared.items()) if declared else ()


def _shows(declared: Literal | None) -> Shows:
    pairs: dict[str, tuple[str, str]] = {}
    steps: tuple[tuple[str, int], ...] = ()
    card = ""
    for name, part in (declared.entries() if declared else {}).items():
        match name, part.value:
            case "log" | "artifact", [str(first), str(second)]:
                pairs[str(name)] = (first, second)
            case "card", str(step):
                card = step
            case "steps", {}:
                steps = tuple((str(one), tasks.count()) for one, tasks in part.entries().items())
            case _:
                raise part.error(
                    ": expected 'log' with [step, line], 'artifact' with [name, value], 'card' with"
                    " a step, or 'steps' with a dict of steps and how many tasks each has"
                )
    return Shows(pairs.get("log"), pairs.get("artifact"), card, steps)


def _check(source: Source, name: object, entry: Literal, actions: Sequence[Action]) -> Check:
    if not isinstance(name, str) or not isinstance(entry.value, dict) or "about" not in entry.value:
        raise entry.error(": a name with a dict that has 'about' is expected")
    _refuse_reserved(name, entry, actions)
    fields = entry.fields(("about", *RANGES, "writer", "action", "package"))
    done = [action.name for action in actions if action.verb != "read"]
    judged = fields["action"].one_of(done) if "action" in fields else FIRST_RUN
    action = next(action for action in actions if action.name == judged)
    ranges = {
        side: both(getattr(action, side), fields[side].specifier() if side in fields else "")
        for side in RANGES
    }
    about = fields["about"].text()
    # Unless it is said, who reads what is new in a release is not asked for it in older runs.
    writer = fields["writer"].specifier() if "writer" in fields else ranges["client"]
    wants = _wants(source, name, entry)
    # Only a name: in which versions it is there, --with says.
    package = canonicalize_name(fields["package"].text()) if "package" in fields else ""
    return Check(name, about, **ranges, writer=writer, action=judged, wants=wants, package=package)


def _refuse_reserved(name: str, entry: Literal, actions: Sequence[Action]) -> None:
    if name in (FIRST_RUN, STORED.name):
        raise entry.error(
            f": the name is reserved: every cell makes checks named {FIRST_RUN} and {STORED.name}"
        )
    if name in {action.name for action in actions}:
        raise entry.error(f": the name is reserved: it is the check of the action {name!r}")


def _wants(source: Source, name: str, entry: Literal) -> tuple[str, ...]:
    """Return what a check's function is to be called with; the first one may have any name."""
    function = source.functions.get(f"check_{name}")
    if function is None:
        raise entry.error(f": the file has no function check_{name}(run)")
    arguments = function.args
    names = [one.arg for one in (*arguments.posonlyargs, *arguments.args)]
    wants = [one if one in PROVIDED or at else "run" for at, one in enumerate(names)]
    wants += [one.arg for one in arguments.kwonlyargs]
    unknown = [one for one in wants if one not in PROVIDED]
    if unknown:
        raise entry.error(
            f": check_{name} wants {unknown[0]!r}, and there are {', '.join(PROVIDED)}"
        )
    return tuple(wants)


def _refuse_unasked(source: Source, checks: Sequence[Check]) -> None:
    """Refuse a function that looks like a check's and is none: nobody would miss it."""
    asked = {f"check_{check.name}" for check in checks}
    for name, function in source.functions.items():
        if name.startswith("check_") and name not in asked:
            why = f"the function of no check: CHECKS has no {name.removeprefix('check_')!r}"
            raise UsageError(f"{source.path}:{function.lineno}: {name} is {why}")


def _refuse_reads(
    declared: Mapping[str, Literal], actions: Sequence[Action], checks: Sequence[Check]
) -> None:
    """Refuse reads of checks that are not there, or of what is done only later."""
    own = {check.name: check for check in checks}
    made: set[str] = set()
    done: set[str] = set()
    for action in actions:
        done.add(action.name)
        for name in action.checks:
            where = f": the read {action.name!r} makes the check {name!r}, "
            if name not in own:
                raise declared["ACTIONS"].error(f"{where}which is not in CHECKS")
            if name in made:
                raise declared["ACTIONS"].error(f"{where}which another read makes")
            if own[name].action not in done:
                later = own[name].action
                raise declared["ACTIONS"].error(f"{where}which judges {later!r}, done later")
            made.add(name)
