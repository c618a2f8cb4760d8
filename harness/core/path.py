"""The path of a fixed-database walk: which service follows which. Pure."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.catalog.releases import Service
from harness.core.entries import Direction
from harness.machine.errors import UsageError

# A walk that rolls back about every third time still gets ahead, and one that jumps over up to two
# services meets most pairs of neighbours over a handful of seeds.
ROLLBACK_PROBABILITY = 1 / 3
LONGEST_JUMP = 3


_VERBS = {"upgrade": "upgrade to", "rollback": "roll back to", "downgrade": "downgrade to"}


@dataclass(frozen=True)
class Step:
    """One stage of the path.

    Attributes:
        number: from 1.
        rollback: whether the service is older than one that used the database before.
        downgrade: whether its schema is older, too, than the one the database has: then nothing
            can be migrated, and the image alone goes back.
    """

    number: int
    service: Service
    rollback: bool = False
    downgrade: bool = False

    @property
    def direction(self) -> Direction:
        """The way in one word."""
        if self.downgrade:
            return "downgrade"
        return "rollback" if self.rollback else "upgrade"

    def __str__(self) -> str:
        verb = "start with" if self.number == 1 else _VERBS[self.direction]
        return f"stage {self.number:02d}: {verb} {self.service.name} (schema {self.service.schema})"


def straight(services: Iterable[Service]) -> tuple[Step, ...]:
    """Return the path through all services, oldest first."""
    return tuple(Step(number, service) for number, service in enumerate(services, start=1))


def given(services: Sequence[Service]) -> tuple[Step, ...]:
    """Return the path through services in the order a user gave, upwards and back.

    Raises:
        UsageError: when a service is repeated.
    """
    for earlier, later in itertools.pairwise(services):
        if later.name == earlier.name:
            raise UsageError(f"--path: {later.name} is repeated")
    steps = []
    for number, service in enumerate(services, start=1):
        before = services[: number - 1]
        back = any(service.version < one.version for one in before)
        down = back and any(service.schema < one.schema for one in before)
        steps.append(Step(number, service, back, down))
    return tuple(steps)


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
