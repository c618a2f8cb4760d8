"""The database of a walk, and the server it is on: a walk may move it to a newer PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from harness.core.axes import Point
from harness.core.path import Step
from harness.machine.errors import HarnessError, InfraError, naming_shortage, run_out
from harness.run.run import Run
from harness.stack.backend import Backend
from harness.stack.database.dump import restore
from harness.stack.database.server import Database, DatabaseServer
from harness.stack.stacks import Stacks


class MoveError(HarnessError):
    """A PostgreSQL that lives does not dump the database, or does not take it."""


class WalkedDatabase:
    """Where the database of a walk is.

    Args:
        run: of the walk.
        backend: where its servers come from.
        stacks: where they are stopped.
        point: of its cells; None where it has none.
    """

    def __init__(self, run: Run, backend: Backend, stacks: Stacks, point: Point | None) -> None:
        self._run = run
        self._backend = backend
        self._stacks = stacks
        self._point = point
        self._place: tuple[DatabaseServer, Database] | None = None

    @property
    def server(self) -> DatabaseServer:
        """The server that has the database now.

        Raises:
            InfraError: before the database is made.
        """
        return self._found()[0]

    @property
    def there(self) -> Database:
        """The database.

        Raises:
            InfraError: before it is made.
        """
        return self._found()[1]

    def _found(self) -> tuple[DatabaseServer, Database]:
        if self._place is None:
            raise InfraError("the walk has no database yet")
        return self._place

    def is_at(self, step: Step) -> bool:
        """Tell whether it is on the PostgreSQL of a stage."""
        return self.server is self._server_of(step)

    def make(self, step: Step) -> Database:
        """Make the database, empty, where it is at a stage; one of the user's is there already.

        Raises:
            InfraError: when the server does not start, or refuses.
        """
        server = self._server_of(step)
        self._stacks.start_server(server)
        database = self._backend.existing or self._create(server)
        self._place = server, database
        return database

    def make_anew(self, steps: Iterable[Step]) -> Database:
        """Make the database anew, empty, whatever has become of it, or of its server.

        Args:
            steps: the stages that it may be at; where it is at the first it is made.

        Raises:
            InfraError: when a server does not start, or refuses.
        """
        servers = dict.fromkeys(map(self._server_of, steps))
        for server in servers:
            # One that has died, or was removed, is another one from here, without any database.
            self._stacks.start_server(server)
            server.drop(self._run.options.database_name)
        first = next(iter(servers))
        self._place = first, self._create(first)
        return self.there

    def move(self, step: Step) -> Database:
        """Move the database to the PostgreSQL of a stage, as an operator would: dump and restore.

        Raises:
            MoveError: when it cannot be, though both servers live; it stays where it was then.
            InfraError: when one of them does not, or the machine has no room.
        """
        target = self._server_of(step)
        self._stacks.start_server(target)
        there = self._create(target)
        folder = self._run.folder.work / f"move-{step.number:02d}"
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "database"
        try:
            # PostgreSQL advises the programs of the newer one. But what minor releases since
            # November 2026 keep beside columns (``pg_attver``) an older pg_dump of a newer major
            # writes down as an option, which its server refuses.
            self.server.dump(self.there.address, file)
            restore(file, there.address, target.programs)
        except InfraError as error:
            for server in (self.server, target):
                server.check_alive()
            if run_out(str(error)):
                raise InfraError(naming_shortage(str(error))) from error
            raise MoveError(
                f"the database cannot be moved to PostgreSQL {step.postgres}: {error}"
            ) from error
        finally:
            file.unlink(missing_ok=True)
        self._place = target, there
        return there

    def _create(self, server: DatabaseServer) -> Database:
        return server.create(self._run.options.database_name)

    def _server_of(self, step: Step) -> DatabaseServer:
        if self._point is not None:
            postgres = step.postgres or self._point.postgres
            return self._backend.server(msgspec.structs.replace(self._point, postgres=postgres))
        by = self._backend.by_variant.items()
        return next(server for (one, *_), server in by if step.postgres in {"", one})
