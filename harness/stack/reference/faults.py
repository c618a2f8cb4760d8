"""Faults planted on purpose, for tests that show the harness finds them. Never on by themselves.

``METAFLOW_COMPAT_FAULT="NAME[:ARGUMENT][@LEVEL]"`` plants one; docs/reference-service.md says
what each does.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from harness.stack.reference.levels import LEVELS, Level

VARIABLE = "METAFLOW_COMPAT_FAULT"
"""The environment variable that plants a fault."""

LOSE_ARTIFACT = "lose-artifact"
DROP_TAG = "drop-tag"
LOSE_WRITE = "lose-write"
DROP_AT_STOP = "drop-at-stop"
STORE_TWICE = "store-twice"
# As services 1.0.x.
MOVE_TIMES = "move-times"
HANG = "hang"
TIMES_OF_FIRST = "times-of-first"
TOUCH_TIMES = "touch-times"
SECONDS = "seconds"
CHANGE_LISTS = "change-lists"
HIDE_NAMED = "hide-named"
LOSE_FIELD = "lose-field"
LATEST_METADATA = "latest-metadata"
# As a database of three bytes a sign.
LOSE_FAR_SIGNS = "lose-far-signs"
REVERSE_LISTS = "reverse-lists"
IGNORE_FILTERS = "ignore-filters"
SORT_TAGS = "sort-tags"
REPEAT_TAGS = "repeat-tags"
STATUS_500 = "status-500"
STATUS_500_COMMITS = "status-500-commits"
EXIT_ON = "exit-on"
ABORT_ON = "abort-on"
SEGV_ON = "segv-on"
# As the kernel does when memory runs out.
KILL_ON = "kill-on"
HANG_ON = "hang-on"
MIGRATION_DROPS_COLUMN = "migration-drops-column"
MIGRATION_INVALID_INDEX = "migration-invalid-index"
MIGRATION_HALF_WAY = "migration-half-way"
# As the first migration of 2.0.0, before https://github.com/Netflix/metaflow-service/pull/18.
MIGRATION_REFUSES_USED = "migration-refuses-used"
MIGRATION_LOSES_ROW = "migration-loses-row"
MIGRATION_CHANGES_VALUE = "migration-changes-value"
NO_START_ON_NEWER_SCHEMA = "no-start-on-newer-schema"

HEARTBEAT, TAGS = "heartbeat", "tags"
WRITES = ("flow", "run", "step", "task", "artifact", "metadata", HEARTBEAT, TAGS)
"""Every kind of write there is."""

_KINDS = {LOSE_WRITE: WRITES, STORE_TWICE: ("run", "task", "metadata")}
"""The kinds of a write that a fault can strike; of the others no table takes the same twice."""

_TAKES_NAME = {LOSE_ARTIFACT, DROP_TAG, LOSE_FIELD, HANG, *_KINDS}
_TAKES_COUNT = {
    STATUS_500,
    STATUS_500_COMMITS,
    EXIT_ON,
    ABORT_ON,
    SEGV_ON,
    KILL_ON,
    HANG_ON,
}
NAMES = (
    LOSE_ARTIFACT,
    DROP_TAG,
    LOSE_WRITE,
    DROP_AT_STOP,
    STORE_TWICE,
    MOVE_TIMES,
    HANG,
    TIMES_OF_FIRST,
    TOUCH_TIMES,
    SECONDS,
    CHANGE_LISTS,
    HIDE_NAMED,
    LOSE_FIELD,
    LATEST_METADATA,
    LOSE_FAR_SIGNS,
    REVERSE_LISTS,
    IGNORE_FILTERS,
    SORT_TAGS,
    REPEAT_TAGS,
    STATUS_500,
    STATUS_500_COMMITS,
    EXIT_ON,
    ABORT_ON,
    SEGV_ON,
    KILL_ON,
    HANG_ON,
    MIGRATION_DROPS_COLUMN,
    MIGRATION_INVALID_INDEX,
    MIGRATION_HALF_WAY,
    MIGRATION_REFUSES_USED,
    MIGRATION_LOSES_ROW,
    MIGRATION_CHANGES_VALUE,
    NO_START_ON_NEWER_SCHEMA,
)
"""Every fault there is."""


class FaultError(ValueError):
    """The fault that was asked for does not exist, or its argument makes no sense."""


@dataclass(frozen=True)
class Fault:
    """One planted fault, or none.

    Attributes:
        name: one of NAMES; empty for none.
        argument: the name of an artifact or a tag, the kind of a write, the end of a path, or
            empty.
        count: which request it strikes, from 1; 0 where it has none.
    """

    name: str = ""
    argument: str = ""
    count: int = 0

    def loses(self, artifact: str) -> bool:
        """Tell whether rows of this artifact are to be lost.

        Without a name of its own the fault takes what a user made: Metaflow's own artifacts
        begin with an underscore, but for ``name``, the name of the flow.
        """
        if self.name != LOSE_ARTIFACT:
            return False
        if self.argument:
            return artifact == self.argument
        return not artifact.startswith("_") and artifact != "name"

    def hangs(self, path: str) -> bool:
        """Tell whether requests with this path are never answered."""
        return self.name == HANG and path.endswith(f"/{self.argument}")

    def loses_write(self, kind: str) -> bool:
        """Tell whether a whole write of this kind, one of WRITES, is to store nothing."""
        return self.name == LOSE_WRITE and self.argument == kind

    def stores_twice(self, kind: str) -> bool:
        """Tell whether each row of a write of this kind is to be stored twice."""
        return self.name == STORE_TWICE and self.argument == kind

    def kept(self, tags: object) -> object:
        """Return the user tags a new run is to have of those its client sent, None of None."""
        if self.name != DROP_TAG or not isinstance(tags, list) or not tags:
            return tags
        dropped = self.argument or min(tags)
        return [tag for tag in tags if tag != dropped]


NO_FAULT = Fault()
"""What a service has that nobody told to misbehave."""


def parse(text: str, level: Level) -> Fault:
    """Return the fault that ``text`` plants at this level.

    Args:
        text: ``NAME[:ARGUMENT][@LEVEL]``; empty for none. With a LEVEL every other level gets
            no fault.
        level: the level that is about to run.

    Raises:
        FaultError: naming the nearest fault, level or the argument that is wrong.
    """
    if not text:
        return NO_FAULT
    described, _, only_at = text.partition("@")
    name, _, argument = described.partition(":")
    if name not in NAMES:
        raise FaultError(f"{VARIABLE}: unknown fault {name!r}{_nearest(name, NAMES)}")
    if only_at and only_at not in LEVELS:
        raise FaultError(f"{VARIABLE}: unknown level {only_at!r}{_nearest(only_at, LEVELS)}")
    fault = (
        Fault(name, "", _count(name, argument)) if name in _TAKES_COUNT else Fault(name, argument)
    )
    if name == HANG and not argument:
        raise FaultError(f"{VARIABLE}: {name}:PATH needs the end of a path, artifact say")
    if name == LOSE_FIELD and not argument:
        raise FaultError(f"{VARIABLE}: {name}:NAME needs the name of a field, tags say")
    if name in _KINDS and argument not in (kinds := _KINDS[name]):
        raise FaultError(
            f"{VARIABLE}: {name}:KIND: unknown kind {argument!r}{_nearest(argument, kinds)}"
        )
    if argument and name not in _TAKES_NAME | _TAKES_COUNT:
        raise FaultError(f"{VARIABLE}: {name} takes no argument, got {argument!r}")
    return fault if only_at in ("", level.name) else NO_FAULT


def _count(name: str, argument: str) -> int:
    if not argument.isdecimal() or int(argument) < 1:
        raise FaultError(f"{VARIABLE}: {name}:N needs a number from 1, got {argument!r}")
    return int(argument)


def _nearest(wrong: str, choices: tuple[str, ...] | dict[str, Level]) -> str:
    close = difflib.get_close_matches(wrong, list(choices), n=3, cutoff=0.4)
    return f" (nearest: {', '.join(close)})" if close else f"; there are {', '.join(choices)}"
