"""The path of a fixed-database walk: which service follows which. Pure."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.catalog.releases import Service
from harness.machine.errors import UsageError

# A walk that rolls back about every third time still gets ahead, and one that jumps over up to two
# services meets most pairs of neighbours over a handful of seeds.
ROLLBACK_PROBABILITY = 1 / 3
LONGEST_JUMP = 3


@dataclass(frozen=True)
class Step:
    """One stage of the path.

    Attributes:
        number: from 1.
        rollback: whether the service is older than the one before it.
    """

    number: int
    service: Service
    rollback: bool = False

    def __str__(self) -> str:
        verb = "roll back to" if self.rollback else "upgrade to"
        verb = "start with" if self.number == 1 else verb
        return f"stage {self.number:02d}: {verb} {self.service.name} (schema {self.service.schema})"


def straight(services: Iterable[Service]) -> tuple[Step, ...]:
    """Return the path through all services, oldest first."""
    return tuple(Step(number, service) for number, service in enumerate(services, start=1))


def given(services: Sequence[Service]) -> tuple[Step, ...]:
    """Return the path through services in the order a user gave.

    Raises:
        UsageError: when a service is repeated or older than the one before it.
    """
    for earlier, later in itertools.pairwise(services):
        if later.name == earlier.name:
            raise UsageError(f"--path: {later.name} is repeated")
        if later.version < earlier.version:
            raise UsageError(
                f"--path: {later.name} is older than {earlier.name} before it; a path goes upwards"
                " (for rollbacks in between see --seed)"
            )
    return straight(services)


def random_path(services: Sequence[Service], seed: int) -> tuple[Step, ...]:
    """Return a random legal path of upgrades, with rollbacks in between, to the newest service.

    A rollback is legal to a service that brings the very schema the database has: an older image
    does not boot on a newer schema (measured). The same seed and services give the same path.
    """
    choice = random.Random(seed)  # noqa: S311 - a plan that must be repeatable, not a secret
    # In the older half, or many a walk would be over before it met a migration.
    position = choice.randrange(max(1, len(services) // 2))
    steps = [Step(1, services[position])]
    while position < len(services) - 1:
        rollbacks = [s for s in services[:position] if s.schema == services[position].schema]
        # Never twice in a row: a walk is to reach the newest service.
        may_roll_back = bool(rollbacks) and not steps[-1].rollback
        if may_roll_back and choice.random() < ROLLBACK_PROBABILITY:
            steps.append(Step(len(steps) + 1, choice.choice(rollbacks), rollback=True))
            continue
        position = min(position + choice.randint(1, LONGEST_JUMP), len(services) - 1)
        steps.append(Step(len(steps) + 1, services[position]))
    return tuple(steps)
