"""What releases of the metadata service changed for good, among what the contract observes.

Source: the releases named, and the ones before them, each run as a process and asked the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from operator import attrgetter

from packaging.version import Version

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
    "flow",
    "heartbeat of a run",
    "heartbeat of a task",
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
    "metadata of an unknown task",
    "metadata registered again",
    "pages",
    "removal of a system tag",
    "run",
    "run named by digits",
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
    """

    check: str
    since: Version
    before: str
    after: str
    reason: str


def _changed(
    since: str, reason: str, observations: dict[str, tuple[str, str]]
) -> Iterable[DeclaredChange]:
    for check, (before, after) in observations.items():
        yield DeclaredChange(check, Version(since), before, after, reason)


DECLARED: tuple[DeclaredChange, ...] = (
    *_changed(
        "2.0",
        "string ids: runs and tasks may be named, and are looked up before anything is added",
        {
            "run with a name": ("200, a number instead", "200, kept"),
            "run named by digits": ("200", "500"),
            "number of a step's run": ("int", "str"),
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
        {"heartbeat of a run": ("404", "200"), "heartbeat of a task": ("404", "200")},
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
)
"""By release, oldest first."""


def declared(check: str, version: Version) -> DeclaredChange | None:
    """Return the change that declares how a release behaves.

    Returns:
        The newest one the release has reached, whose ``after`` holds for it; else the oldest of
        the check, whose ``before`` does; None for a check that no release changed.
    """
    of_check = sorted((one for one in DECLARED if one.check == check), key=attrgetter("since"))
    reached = [one for one in of_check if one.since <= version]
    return (reached[-1] if reached else of_check[0]) if of_check else None
