"""Actions: what is done with a probe's flow, in order; read from the literal that declares them.

``ACTIONS = [{"verb": "run", "env": {"BREAK": "1"}, "ends": "failed"}, {"verb": "resume"}]``: what
each verb may say is in ``_FIELDS``. A text may name what earlier actions made: ``{run_id}`` is the
id of the first run, ``{NAME.run_id}`` that of an action's run, ``{NAME.STEP}`` the first task that
the run printed of a step, as ``RUN/STEP/TASK``; ``{unique}`` is a word of the cell's own, and
``{flow}`` the name of the flow.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from harness.core.declarations import Literal

COMPLETED, FAILED = "completed", "failed"
"""How a run ends, in the words of the Metaflow UI."""

FIRST_RUN = "run"
"""The name of the first action that runs the flow."""

# A lower-case name, so that braces of JSON or of a format, {} or {0}, stay what they are.
PLACEHOLDER = re.compile(r"\{([a-z_]\w*)(?:\.(\w+))?\}")
"""Stands in a text for what is known only when the action is done."""

OWN_WORDS = ("flow", "unique")
"""Placeholders that name no action's result."""

FIRST_RUN_ID = "run_id"
"""The placeholder of the first run's id."""

RUN_ABOUT = {
    COMPLETED: "the run ends well, is read back finished, and has its row",
    FAILED: "the run fails as it should, is read back so, and has its row",
}

ROLES = {"run": "writer", "resume": "resumer", "command": "writer", "read": "reader"}
"""The verbs, and who does each unless the action says otherwise."""

NON_ZERO = "non-zero"
# A process ends with one byte.
_LAST_CODE = 255

RESERVED = (
    "flow",
    "readback",
    "reread",
    "listing",
    "service",
    "rows",
    "stored",
    "run_id",
    "unique",
)
"""What else is named in a cell: evidence, checks and placeholders."""

RANGES = ("client", "service", "release")
"""The fields that say what an action or a check needs."""

_EVERY = ("verb", "name", "role", *RANGES)
_PROGRAM = (*_EVERY, "about", "env")
_FIELDS = {
    "run": (*_PROGRAM, "before", "options", "parameters", "ends"),
    "resume": (*_PROGRAM, "before", "options", "origin", "step", "ends"),
    "command": (*_PROGRAM, "program", "args", "exit", "run_id"),
    "read": (*_EVERY, "checks"),
}


@dataclass(frozen=True)
class Action:
    """One thing that is done with a probe's flow.

    Each has a check of its own name, which asserts that it ends as it should; only a read has none.

    Attributes:
        verb: ``run``, ``resume``, ``command`` or ``read``.
        name: what reports show, and others name it by; the first run is called ``run``.
        role: who does it: ``writer``, ``resumer`` or ``reader``.
        about: what it asserts, in words.
        client: PEP 440 range of clients that can do it, and what it needs; empty for all.
        service: the same for the version that the service reports to clients.
        release: the same for the service's own version.
        needs: the earlier actions whose results it uses.
        environment: variables, beside those of every program.
        before: of a run or resume: options of the flow, before the command.
        options: of a run or resume: options of the command.
        parameters: of a run: name and value of each.
        ends: how the run must end: ``completed`` or ``failed``.
        origin: of a resume: the action whose run is resumed.
        step: of a resume: the step it begins with; empty for the one that failed.
        program: of a command: ``flow``, which is the probe's file, or ``metaflow``, the script.
        arguments: of a command.
        exit_code: of a command: how it must end; None for any code but 0.
        run_id: of a command: the id of the run that it makes or changes; empty for none.
        checks: of a read: what it makes; empty for all that no other read makes.
    """

    verb: str
    name: str
    role: str = ""
    about: str = ""
    client: str = ""
    service: str = ""
    release: str = ""
    needs: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    before: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    parameters: tuple[tuple[str, str], ...] = ()
    ends: str = COMPLETED
    origin: str = ""
    step: str = ""
    program: str = "flow"
    arguments: tuple[str, ...] = ()
    exit_code: int | None = 0
    run_id: str = ""
    checks: tuple[str, ...] = ()

    @property
    def makes_run(self) -> bool:
        """Whether a run comes of it that is read back."""
        return self.verb in {"run", "resume"}


def parse_actions(declared: Literal) -> tuple[Action, ...]:
    """Return what a list declares; a read is added at the end where there is none.

    Raises:
        UsageError: for the first fault, with its line.
    """
    known: dict[str, Action] = {}
    for item in declared.items():
        action = _action(item, known)
        if action.name in known:
            raise item.error(f": there is an action {action.name!r} already; give it a name")
        known[action.name] = action
    if FIRST_RUN not in known:
        raise declared.error(": no action runs the flow: {'verb': 'run'} is expected")
    actions = tuple(known.values())
    if actions[-1].verb == "read":
        return actions
    name = "read" if "read" not in known else "last_read"
    return (*actions, Action("read", name, ROLES["read"]))


def _action(item: Literal, known: Mapping[str, Action]) -> Action:
    entries = item.entries()
    if "verb" not in entries:
        raise item.error(f": a dict that has 'verb' is expected: {' or '.join(_FIELDS)}")
    verb = replace(entries["verb"], name=f"{item.name}: verb").one_of(_FIELDS)
    fields = item.fields(_FIELDS[verb])
    action = _Reader(fields).action(verb)
    _check_name(item, action, known)
    return _with_needs(item, action, known)


@dataclass(frozen=True)
class _Reader:
    """Reads the fields of one action."""

    fields: Mapping[str, Literal]

    def action(self, verb: str) -> Action:
        action = Action(
            verb,
            name=self.fields["name"].word() if "name" in self.fields else verb,
            role=self.choice("role", sorted(set(ROLES.values())), ROLES[verb]),
            client=self.range("client"),
            service=self.range("service"),
            release=self.range("release"),
            environment=self.pairs("env"),
            before=self.texts("before"),
            options=self.texts("options"),
            parameters=self.pairs("parameters"),
            ends=self.choice("ends", RUN_ABOUT, COMPLETED),
            origin=self.text("origin") or (FIRST_RUN if verb == "resume" else ""),
            step=self.text("step"),
            program=self.choice("program", ("flow", "metaflow"), "flow"),
            arguments=self.texts("args"),
            exit_code=self.exit_code(),
            run_id=self.text("run_id"),
            checks=self.texts("checks"),
        )
        return replace(action, about=self.text("about") or _about(action))

    def choice(self, name: str, choices: Collection[str], otherwise: str) -> str:
        return self.fields[name].one_of(choices) if name in self.fields else otherwise

    def text(self, name: str) -> str:
        return self.fields[name].text() if name in self.fields else ""

    def range(self, name: str) -> str:
        return self.fields[name].specifier() if name in self.fields else ""

    def texts(self, name: str) -> tuple[str, ...]:
        return self.fields[name].texts() if name in self.fields else ()

    def pairs(self, name: str) -> tuple[tuple[str, str], ...]:
        entries = self.fields[name].entries() if name in self.fields else {}
        for key, value in entries.items():
            if not isinstance(key, str):
                raise value.error(": a name that is a str is expected")
        return tuple((str(key), value.text()) for key, value in entries.items())

    def exit_code(self) -> int | None:
        declared = self.fields.get("exit")
        if declared is None:
            return 0
        if declared.value == NON_ZERO:
            return None
        # Not isinstance(): True is an int, too.
        if type(declared.value) is not int or not 0 <= declared.value <= _LAST_CODE:
            raise declared.error(f" is {declared.value!r}; 0 to 255 or {NON_ZERO!r} is expected")
        return declared.value


def _about(action: Action) -> str:
    if action.verb == "run":
        return RUN_ABOUT[action.ends]
    if action.verb == "resume":
        return f"{action.origin} is resumed: {RUN_ABOUT[action.ends]}"
    if action.verb == "command":
        words = " ".join(action.arguments)
        code = "another exit code than 0" if action.exit_code is None else f"{action.exit_code}"
        return f"the command {words!r} of {action.program} ends with {code}"
    return ""


def _check_name(item: Literal, action: Action, known: Mapping[str, Action]) -> None:
    if action.name in RESERVED:
        raise item.error(f": the name {action.name!r} is reserved for what every cell has")
    first = action.verb == "run" and not any(one.verb == "run" for one in known.values())
    if first != (action.name == FIRST_RUN):
        raise item.error(
            f": the first action that runs the flow is called {FIRST_RUN!r}, and only that one;"
            f" this is {action.name!r}"
        )


def _with_needs(item: Literal, action: Action, known: Mapping[str, Action]) -> Action:
    """Return an action with the earlier ones it needs, and with their ranges: they are its own."""
    named = {action.origin} if action.origin else set()
    for text in texts_of(action):
        for first, second in PLACEHOLDER.findall(text):
            if first == FIRST_RUN_ID and not second:
                named.add(FIRST_RUN)
            elif second:
                named.add(first)
            elif first not in OWN_WORDS:
                raise item.error(
                    f": nobody knows {{{first}}}; there are {{run_id}}, {{ACTION.run_id}},"
                    " {ACTION.STEP}, {unique} and {flow}"
                )
    # Sorted: sets differ in order between processes, and the first fault is the one told.
    for name in sorted(named):
        if name not in known or not (known[name].makes_run or known[name].run_id):
            raise item.error(f": no earlier action {name!r} makes a run")
    # In the order they are done: the first that did not end is named as the cause.
    needed = [one for name, one in known.items() if name in named]
    return replace(
        action,
        needs=tuple(one.name for one in needed),
        client=both(action.client, *(one.client for one in needed)),
        service=both(action.service, *(one.service for one in needed)),
        release=both(action.release, *(one.release for one in needed)),
    )


def both(*ranges: str) -> str:
    """Return the range of what is in all of these."""
    # A comma joins PEP 440 ranges to what is in all of them.
    return ",".join(dict.fromkeys(filter(None, ranges)))


def texts_of(action: Action) -> Iterable[str]:
    """Return the texts of an action that placeholders may stand in."""
    yield from (*action.before, *action.options, *action.arguments, action.run_id)
    yield from (value for _, value in (*action.environment, *action.parameters))
