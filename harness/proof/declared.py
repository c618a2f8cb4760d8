"""What releases of the metadata service changed for good, among what the contract observes.

Source: the releases named, and the ones before them, each run as a process and asked the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import TypeVar

from packaging.version import Version

from harness.catalog.releases import Service

CHECKS = (
    "an artifact twice in one request",
    "answers",
    "artifacts",
    "artifacts of a second attempt",
    "artifacts of a task with a name",
    "artifacts of an unknown task",
    "change of tags",
    "duplicate artifact",
    "duplicate flow",
    "duplicate run with a name",
    "duplicate step",
    "duplicate task with a name",
    "filters",
    "flow",
    "heartbeat of a run",
    "heartbeat of a run at once again",
    "heartbeat of a task",
    "heartbeat of a task at once again",
    "heartbeat of an unknown run",
    "large metadata",
    "lists",
    "malformed artifacts",
    "malformed change of tags",
    "malformed flow",
    "malformed metadata",
    "malformed run",
    "malformed step",
    "malformed task",
    "many artifacts",
    "metadata",
    "metadata of a task with a name",
    "metadata of some tasks",
    "metadata of an unknown task",
    "metadata registered again",
    "order",
    "pages",
    "removal of a system tag",
    "run",
    "run named by digits",
    "run of another user",
    "run of an unknown flow",
    "run of many",
    "run with a name",
    "step",
    "step of a run with a name",
    "step of an unknown run",
    "step of many",
    "tags that are no list",
    "task",
    "task of an unknown run",
    "task of an unknown step",
    "task with a name",
    "tasks at once",
    "the same change of tags",
    "times",
    "unmigrated",
)
"""What problems of the contract begin with: known ones are declared by it."""


@dataclass(frozen=True)
class DeclaredChange:
    """One observed behaviour that a release changed.

    Attributes:
        check: name of the observation.
        since: the first release with the new behaviour, by its own version; the version it
            reports may be older (2.2.5 reports 2.2.3).
        before: what is observed with older releases, back to the change before this one.
        after: what is observed with this release and newer ones.
        reason: what the release changed.
        schema: the migration that decides it, whatever the service: one that goes back behaves
            by the schema it finds. 0 where the code decides.
    """

    check: str
    since: Version
    before: str
    after: str
    reason: str
    schema: int = 0

    def holds(self, service: Service, schema: int) -> bool:
        """Tell whether a service over a schema, 0 if unknown, behaves as after the change."""
        return schema >= self.schema if self.schema and schema else self.since <= service.version


def _changed(
    since: str, reason: str, observations: dict[str, tuple[str, str]], schema: int = 0
) -> Iterable[DeclaredChange]:
    for check, (before, after) in observations.items():
        yield DeclaredChange(check, Version(since), before, after, reason, schema)


T = TypeVar("T")

_TEXT = "text/plain; charset=utf-8: "
_RUN, _STEP, _TASK = "run_number number", "step_name string", "task_id number"
_BEAT = "last_heartbeat_ts null"


def _body(*fields: str) -> str:
    """Return what a body with these fields is observed as, beside those that all have."""
    always = ("flow_id string", "system_tags list", "tags list", "ts_epoch number")
    return _TEXT + ", ".join(sorted((*always, "user_name string", *fields)))


def _bodies(what: str, observed: T) -> dict[str, T]:
    """Declare what registering and what reading something answers, where both are alike."""
    return {f"answer to registering {what}": observed, f"shape of {what}": observed}


DECLARED: tuple[DeclaredChange, ...] = (
    *_changed(
        "2.0",
        "string ids: runs and tasks may be named, and are looked up before anything is added",
        {
            "run with a name": ("200, a number instead", "200, kept"),
            "run named by digits": ("200", "500"),
            "number of a step's run": ("int", "str"),
            **_bodies("a step", (_body(_RUN, _STEP), _body("run_number string", _STEP))),
            "step of an unknown run": ("404", "500"),
            "task of an unknown run": ("404", "500"),
            "artifacts of an unknown task": ("200, 3 written", "400"),
            "metadata of an unknown task": ("200, 2 written", "400"),
        },
    ),
    *_changed(
        "2.0",
        "an empty list is answered as a list",
        {"steps of a run that has none": ("{}", "[]")},
    ),
    *_changed(
        "2.0.4",
        "heartbeats",
        {
            f"heartbeat of a {what}{again}": ("404", "200")
            for what in ("run", "task")
            for again in ("", " at once again")
        }
        | _bodies("a run", (_body(_RUN), _body(_RUN, _BEAT)))
        | _bodies("a task", (_body(_RUN, _STEP, _TASK), _body(_RUN, _STEP, _TASK, _BEAT))),
    ),
    *_changed(
        "2.0.5",
        "the body of a 404 is encoded once",
        {
            f"unknown {kind}": ('404, "{}"', "404, {}")
            for kind in ("flow", "run", "step", "task", "artifact")
        },
    ),
    *_changed(
        # https://github.com/Netflix/metaflow-service/pull/30
        "2.0.5",
        "schema 20201002000616: a task may have several metadata of one name",
        {"metadata registered again": ("200, 0 written", "200, 1 written")},
        schema=20201002000616,
    ),
    *_changed(
        "2.0.6",
        "artifacts by attempt",
        {
            "artifact by attempt": ("404", "200, attempt 0"),
            "artifacts by attempt": ("404", "200: name, only_first, twice, x"),
        },
    ),
    *_changed(
        "2.0.6",
        "a heartbeat within ten seconds of another is not taken",
        {f"heartbeat of a {what} at once again": ("200", "404") for what in ("run", "task")},
    ),
    *_changed(
        # https://github.com/Netflix/metaflow-service/pull/256
        "2.2.0",
        "an artifact asked for without an attempt is taken from the latest one alone",
        {"artifact of the first attempt alone": ("200, attempt 0", "404")},
    ),
    *_changed(
        # https://github.com/Netflix/metaflow-service/pull/320
        "2.2.5",
        "tags of a run can be changed",
        {
            "change of tags": ("404", "200"),
            "the same change of tags": ("404", "200"),
            "removal of a system tag": ("404", "422"),
            "malformed change of tags": ("404", "500"),
            "tags that are no list": ("404", "400"),
        },
    ),
    *_changed(
        "2.5.0",
        "tasks can be selected by their metadata",
        {"filtered tasks": ("404", "200, 1 found")},
    ),
    *_changed(
        # The default branch after v2.5.1, which still calls itself so:
        # https://github.com/Netflix/metaflow-service/pull/481, 487 and 488
        "2.6",
        "lists come in pages, newest first; runs and tasks can be filtered",
        {
            "pages": ("unknown", "known"),
            "runs of a status that is none": ("200", "400"),
            "tasks of a time that is none": ("200", "400"),
        },
    ),
)
"""By release, oldest first."""


ALWAYS: Mapping[str, str] = {
    **_bodies("a flow", _body()),
    "answer to registering an artifact": f"{_TEXT}artifacts_created number",
    "answer to registering metadata": f"{_TEXT}metadata_created number",
    "shape of an artifact": _body(
        *(_RUN, _STEP, _TASK, "attempt_id number", "content_type string", "ds_type string"),
        *("location string", "name string", "sha string", "type string"),
    ),
    "shape of metadata": _body(
        *(_RUN, _STEP, _TASK, "field_name string", "id number", "type string", "value string")
    ),
    "an artifact twice in one request": "200, 1 written",
    "artifact of both attempts": "200, attempt 1",
    "artifacts": "200, 3 written",
    "artifacts of a second attempt": "200, 2 written",
    "artifacts of a task with a name": "200, 2 written",
    "artifacts shown after two attempts": "200: name, x",
    "duplicate artifact": "200, 0 written",
    "duplicate flow": "409",
    "duplicate run with a name": "409",
    "duplicate step": "409",
    "duplicate task with a name": "409",
    "flow": "200",
    "heartbeat of an unknown run": "404",
    "large metadata": "200, 1 written",
    "malformed artifacts": "500",
    "malformed flow": "500",
    "malformed metadata": "500",
    "malformed run": "500",
    "malformed step": "500",
    "malformed task": "500",
    "many artifacts": "200, 201 written",
    "metadata": "200, 2 written",
    "metadata of a task with a name": "200, 1 written",
    "metadata of some tasks": "200, 1 written",
    "number of a run": "int",
    "number of a task": "int",
    "order of tags": "as sent",
    "run": "200",
    "run of an unknown flow": "404",
    "run of another user": "200",
    "run of many": "200",
    "run with a name, asked for by number": "200, by its name",
    "step": "200",
    "step of a run with a name": "200",
    "step of many": "200",
    "tags of a task": "the run's",
    "task": "200",
    "task of an unknown step": "404",
    "task with a name": "200, kept",
    "task with a name, asked for by number": "200, by its name",
}
"""What every release answers alike: a service that is none of them is held against it."""


@dataclass(frozen=True)
class Declared:
    """How a service is declared to behave.

    Attributes:
        expected: what is observed; of a checkout perhaps one of two.
        change: the change that says so.
    """

    expected: tuple[str, ...]
    change: DeclaredChange


def declared(check: str, service: Service, schema: int) -> Declared | None:
    """Return how a service over a schema is declared to behave; None where no release changed it.

    Args:
        check: name of the observation.
        service: whose observation it is. A checkout goes by the release it grew from, and may
            already behave as the next change has it.
        schema: the newest migration its database has.
    """
    of_check = sorted((one for one in DECLARED if one.check == check), key=attrgetter("since"))
    if not of_check:
        return None
    reached = [one for one in of_check if one.holds(service, schema)]
    change = reached[-1] if reached else of_check[0]
    expected = [change.after if reached else change.before]
    if service.kind == "checkout":
        expected += [one.after for one in of_check[len(reached) : len(reached) + 1]]
    return Declared(tuple(expected), change)
