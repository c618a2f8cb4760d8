"""The path of a fixed-database walk: which service follows which. Pure."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from harness.catalog.releases import Service
from harness.core.entries import Direction
from harness.machine.errors import UsageError

# A walk that rolls back about every third time still gets ahead, and one that jumps over up to two
# services meets most pairs of neighbours over a handful of seeds.
ROLLBACK_PROBABILITY = 1 / 3
LONGEST_JUMP = 3


_VERBS = {
    "upgrade": "upgrade to",
    "rollback": "roll back to",
    "downgrade": "downgrade to",
    "move": "move the database and go on with",
}


@dataclass(frozen=True)
class Step:
    """One stage of the path.

    Attributes:
        number: from 1.
        rollback: whether the service is older than one that used the database before.
        downgrade: whether its schema is older, too, than the one the database has: then nothing
            can be migrated, and the image alone goes back.
        postgres: the PostgreSQL it is on, in a walk that moves from one to another; else empty.
        moved: whether the database was moved there since the stage before, under one service.
    """

    number: int
    service: Service
    rollback: bool = False
    downgrade: bool = False
    postgres: str = ""
    moved: bool = False

    @property
    def direction(self) -> Direction:
        """The way in one word."""
        if self.moved:
            return "move"
        if self.downgrade:
            return "downgrade"
        return "rollback" if self.rollback else "upgrade"

    def __str__(self) -> str:
        verb = "start with" if self.number == 1 else _VERBS[self.direction]
        where = f" on PostgreSQL {self.postgres}" if self.postgres else ""
        service = f"{self.service.name} (schema {self.service.schema})"
        return f"stage {self.number:02d}: {verb} {service}{where}"


def straight(services: Iterable[Service]) -> tuple[Step, ...]:
    """Return the path through all services, oldest first."""
    return tuple(Step(number, service) for number, service in enumerate(services, start=1))


def given(services: Sequence[Service], *, moves: bool = False) -> tuple[Step, ...]:
    """Return the path through services in the order a user gave, upwards and back.

    Args:
        services: in that order.
        moves: whether one that is named again says that the database moves (see ``moving``).

    Raises:
        UsageError: when a service is repeated.
    """
    for earlier, later in itertools.pairwise(services):
        if later.name == earlier.name and not moves:
            raise UsageError(f"--path: {later.name} is repeated")
    steps = []
    for number, service in enumerate(services, start=1):
        before = services[: number - 1]
        back = any(service.version < one.version for one in before)
        down = back and any(service.schema < one.schema for one in before)
        steps.append(Step(number, service, back, down))
    return tuple(steps)


def moving(path: Sequence[Step], postgres: Sequence[str]) -> tuple[Step, ...]:
    """Return a path on which the database moves from each PostgreSQL to the next.

    A move is a stage of its own, with the service that was there before: what is different then is
    PostgreSQL alone. It is where the path names a service again; unasked the moves cut the path
    into parts of one length.

    Args:
        path: of services.
        postgres: the first and where it moves, in order.

    Raises:
        UsageError: when the path names services again, and not as often as there are moves.
    """
    moves = len(postgres) - 1
    steps = list(path)
    again = [later for one, later in itertools.pairwise(path) if one.service == later.service]
    if again and len(again) != moves:
        raise UsageError(
            f"--path names {again[0].service.name} again, where the database moves: {len(again)}"
            f" times in all, and --postgres-upgrade {','.join(postgres)} has {moves} to move to"
        )
    if not again:
        after = [-(-len(path) * number // (moves + 1)) for number in range(1, moves + 1)]
        for place in reversed(after):
            steps.insert(place, path[place - 1])
    on = iter(postgres)
    found: list[Step] = []
    for number, step in enumerate(steps, start=1):
        moved = bool(found) and found[-1].service == step.service
        variant = next(on) if moved or not found else found[-1].postgres
        found.append(replace(step, number=number, postgres=variant, moved=moved))
    return tuple(found)


def service_before(path: Sequence[Step], number: int) -> Service | None:
    """Return the service that used the database before that of a stage; None for none.

    Of a stage that moves the database it is the one before the first stage of its service.

    Args:
        path: of the walk.
        number: of the stage.
    """
    first = number
    while path[first - 1].moved:
        first -= 1
    return path[first - 2].service if first > 1 else None


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
