"""What came of a check, a cell or a stage: statuses and how they add up. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum

import msgspec


class Status(str, Enum):
    """The status of a check; its value is the word every report shows."""

    PASS = "pass"  # noqa: S105 - a status, no password
    FAIL = "fail"
    UNSUPPORTED = "unsupported"
    EXPECTED_FAIL = "expected-fail"
    UNEXPECTED_PASS = "unexpected-pass"  # noqa: S105 - likewise
    TIMEOUT = "timeout"
    INFRA = "infra"
    NOT_RUN = "not-run"

    @property
    def expected(self) -> bool:
        """Whether a run with this status may be green."""
        return self in {Status.PASS, Status.UNSUPPORTED, Status.EXPECTED_FAIL}

    @property
    def sign(self) -> str:
        """One character, so that no report relies on colour alone."""
        return _SIGNS[self]

    def shown(self, *, signs: bool = True) -> str:
        """Return its sign and its word: ``✓ pass``; the word alone where signs cannot be shown."""
        return f"{self.sign} {self.value}" if signs else self.value


_SIGNS = {
    Status.PASS: "✓",
    Status.FAIL: "✗",
    Status.UNSUPPORTED: "–",
    Status.EXPECTED_FAIL: "x",
    Status.UNEXPECTED_PASS: "!",
    Status.TIMEOUT: "◷",
    Status.INFRA: "⚠",
    Status.NOT_RUN: "·",
}

# From worst to best: a cell is as bad as its worst check. A check that did not run outweighs one
# that passed, because unknown is never green; unsupported ones say nothing about the others.
_WORST_FIRST = (
    Status.INFRA,
    Status.TIMEOUT,
    Status.FAIL,
    Status.UNEXPECTED_PASS,
    Status.NOT_RUN,
    Status.EXPECTED_FAIL,
    Status.PASS,
    Status.UNSUPPORTED,
)


class CheckOutcome(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The status of one check, with the reason in words when it is not a plain pass.

    Attributes:
        because: of a check that did not run: the one that kept it from that;
            unset, and not written, for ``run``.
    """

    status: Status
    reason: str = ""
    because: str | msgspec.UnsetType = msgspec.UNSET


ROLLBACK = "rollback"
"""The gate that a stage closes from which the service cannot be rolled back by its image alone."""

GATES = (ROLLBACK,)
"""What is an aside, and turns a run red where that is asked for (``--gate``)."""


def worst(statuses: Iterable[Status]) -> Status:
    """Return the status that stands for all of them; not-run when there are none."""
    found = set(statuses)
    return next((status for status in _WORST_FIRST if status in found), Status.NOT_RUN)


def worst_first() -> tuple[Status, ...]:
    """Return every status, from the one that outweighs all others."""
    return _WORST_FIRST


def cell_status(checks: Mapping[str, CheckOutcome]) -> Status:
    """Return the status of a cell from its checks."""
    return worst(outcome.status for outcome in checks.values())
