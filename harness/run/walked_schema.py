"""The schema of a walk's database, compared at each stage with that of a fresh install."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from harness.catalog.releases import Service
from harness.core.path import Step
from harness.proof import schema
from harness.run.run import Run
from harness.run.walked_database import WalkedDatabase
from harness.stack.database.server import Database
from harness.stack.evidence import blaming
from harness.stack.service.launcher import RunningService, ServiceError
from harness.stack.service.migration import bring_up


@dataclass(frozen=True)
class Migrated:
    """The schema that a stage's migration reached, and the indexes in it that are not used."""

    schema: schema.SchemaDescription
    invalid_indexes: tuple[str, ...]


class WalkedSchema:
    """Compares the schema that a walk's migrations reach.

    Args:
        run: of the walk.
        walked: where its database is; a fresh install gets one of its own beside it.
        start: starts a service on a database, for the stage of a number, with an ending for the
            name of its log; it stops with the block.

    Attributes:
        found: what a user's database had when the walk began.
    """

    def __init__(
        self,
        run: Run,
        walked: WalkedDatabase,
        start: Callable[[Service, Database, int, str], AbstractContextManager[RunningService]],
    ) -> None:
        self._run = run
        self._walked = walked
        self._start = start
        self.found = schema.SchemaDescription({})
        self._theirs: frozenset[str] = frozenset()
        """Names of what in it no service makes: it is nobody's business here."""
        self._renamed: dict[str, str] | None = None
        """By the name that another PostgreSQL gave a key the one that a fresh install has."""

    @staticmethod
    def migrated(database: Database) -> Migrated:
        """Return what there is to compare, as it is now."""
        return Migrated(
            schema.describe(database.address), tuple(schema.invalid_indexes(database.address))
        )

    def problems(self, step: Step, there: Migrated) -> list[str]:
        """Compare with a fresh install of the service that the database's migrations reach."""
        # Also after a rollback: an index that PostgreSQL does not use helps no service.
        broken = [f"index {name} is invalid" for name in there.invalid_indexes]
        if step.rollback:
            return broken  # the schema is the newer service's, compared at that stage
        try:
            expected = self._fresh(step)
        except ServiceError as error:
            return [*broken, f"no fresh install to compare the schema with: {error}"]
        migrated = there.schema
        # Before it was compared, a user's own or one that is saved may have moved, too.
        if step.moved or self._renamed is None:
            self._renamed = (self._renamed or {}) | schema.renamed(migrated, expected)
        migrated = migrated.named_as(self._renamed)
        # By the first fresh install it is known what a service makes, and what was there before.
        if step.number == 1:
            self._note_theirs(step, migrated, expected)
        found = schema.differences(migrated.without(self._theirs), expected)
        return broken + [f"unlike a fresh install: {difference}" for difference in found]

    def _note_theirs(
        self, step: Step, migrated: schema.SchemaDescription, fresh: schema.SchemaDescription
    ) -> None:
        """Note what a user's database had beside the service's own: no service answers for it."""
        own = self.found.objects.keys() & migrated.objects.keys() - fresh.objects.keys()
        self._theirs = frozenset(own)
        if own:
            listed = ", ".join(sorted(own))
            self._run.record.note(
                step.service.name, f"the database has what no service makes: {listed}"
            )

    def _fresh(self, step: Step) -> schema.SchemaDescription:
        """Return the schema that a service makes of an empty database."""
        # On a user's server other walks may be on their way, or have been killed.
        name = f"fresh_{step.number}_{self._run.folder.run}"
        server = self._walked.server
        fresh = server.create(name)
        try:
            started = self._start(step.service, fresh, step.number, "-fresh")
            with started as running, blaming(running, fresh.address):
                bring_up(running, self._run.options.migration_timeout)
                return schema.describe(fresh.address)
        finally:
            server.drop(name)
