"""PostgreSQL in a container of the run, from the image ``postgres`` as published."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from harness.core.told import REQUIRE
from harness.machine.errors import InfraError
from harness.machine.processes import HOST, free_port, wait_until
from harness.stack.containers.images import Image, Images
from harness.stack.containers.own import Belongings, Program, RunningContainer
from harness.stack.database.admin import RUN_SETTINGS, answers, create_database, drop_database
from harness.stack.database.dump import dump_command
from harness.stack.database.rows import server_version
from harness.stack.database.server import Address, Database, Tls
from harness.stack.database.tls import Certificates

NAME = "database"
"""The host name services reach it by, inside the run's network, where it is the only one."""

PORT = 5432
_READY_SECONDS = 120.0
_MEMORY = "1g"
_PORT_TRIES = 5


class ContainerPostgres:
    """A DatabaseServer in a container that is made at start and removed at stop.

    Args:
        belongings: the run's network, where services find it.
        images: where its image comes from.
        image: its name and tag: ``postgres:16``.
        log: the file for its output.
        user: the superuser that is made.
        password: of that user; None for a random one.
        port: on 127.0.0.1; None for one the system chooses.
        host: the name services reach it by, inside the run's network.
        certificates: those it demands to be reached by; None for no TLS.
    """

    def __init__(
        self,
        belongings: Belongings,
        images: Images,
        image: str,
        log: Path,
        *,
        user: str = "metaflow",
        password: str | None = None,
        port: int | None = None,
        host: str = NAME,
        certificates: Certificates | None = None,
    ) -> None:
        self.description = f"PostgreSQL from {image}, in a container"
        self._host = host
        self.log = log
        self._belongings = belongings
        self._images = images
        self._image = image
        self._user = user
        self._password = password or secrets.token_urlsafe(24)
        self._port = port
        self._certificates = certificates
        self._encrypted = False
        self._container: RunningContainer | None = None
        self._address: Address | None = None

    @property
    def address(self) -> Address:
        """The server's own ``postgres`` database, from this machine.

        Raises:
            InfraError: before the server is started.
        """
        if self._address is None:
            raise InfraError("the PostgreSQL container is not started")
        return self._address

    @property
    def code(self) -> str:
        """Digest of its image, or the engine's own id of one that was built here."""
        return self._images.get(self._image).code

    programs = None
    """Those of its image are in the container."""

    def start(self) -> None:
        """Start the container and return when it answers queries.

        Raises:
            InfraError: when the image cannot be had, the given port is taken, or with the last
                log lines when the container ends or never answers; nothing is left then.
        """
        image, self._container = self._images.use(self._image, self._run)
        try:
            self._encrypted = False
            self._address = self._await(self._container)
            if self._certificates is not None:
                # From within, where its own programs have no certificate to show.
                within = f"hostssl all all {HOST}/32 scram-sha-256"
                self._certificates.encrypt(self._address, within)
                self._encrypted = True
                self._address = self._await(self._container)
        except BaseException:
            self.stop()
            raise
        version = server_version(self._address).split()[0]
        by = f", TLS {self._certificates.mode}" if self._certificates else ""
        self.description = f"PostgreSQL {version} from {image.reference}, in a container{by}"

    def _run(self, image: Image) -> tuple[Image, RunningContainer]:
        """Start the container on the given port, or on chosen ones until one is not taken."""
        left = _PORT_TRIES
        while True:
            # Not the engine's choice: that is another one when it is started again.
            port = self._port or free_port()
            try:
                return image, self._belongings.run(self._program(image, port), self.log)
            except InfraError as error:
                left -= 1
                if self._port or not left or str(port) not in str(error):
                    raise

    def _program(self, image: Image, port: int) -> Program:
        environment = {
            "POSTGRES_USER": self._user,
            "POSTGRES_PASSWORD": self._password,
            # Unasked the image makes one named after the user, which nobody here needs.
            "POSTGRES_DB": "postgres",
        }
        settings = [
            part for name, value in RUN_SETTINGS.items() for part in ("-c", f"{name}={value}")
        ]
        return Program(
            self._host,
            image,
            environment,
            {PORT: port},
            _MEMORY,
            command=["postgres", *settings],
            # Parallel queries over large tables share more than Docker's 64 MB.
            shared_memory="256m",
        )

    def _await(self, container: RunningContainer) -> Address:
        """Return the address of its ``postgres`` database, as soon as that answers."""
        port = container.port(PORT)
        address = Address(HOST, port, self._user, self._password, "postgres")
        if self._certificates is not None and self._encrypted:
            address = self._certificates.over(address)
        wait_until(
            # Over TCP: while the image initialises, its server listens on a socket file alone.
            lambda: _answers(address, container),
            seconds=_READY_SECONDS,
            what=f"PostgreSQL in the container {container.name}",
            log=self.log,
        )
        return address

    def check_alive(self) -> None:
        """Raise EndedError, with the last log lines, when the container does not run any more."""
        if self._container is not None:
            self._container.check_alive()

    def revive(self) -> None:
        """Start the container again, on its data and port; return when it answers queries.

        Raises:
            InfraError: when it was removed, or with the last log lines, when it does not come up.
        """
        if self._container is None:
            raise InfraError(f"{self.description}, was not started, and is not started again")
        if self._container.is_removed():
            raise InfraError(f"{self.description}, was removed by somebody, and all data with it")
        self._container.restart()
        self._await(self._container)

    def create(self, name: str) -> Database:
        """Create the empty database ``name`` and return how to reach it.

        Raises:
            InfraError: when it exists already.
        """
        address = create_database(self.address, name)
        return Database(address, replace(address, host=self._host, port=PORT))

    def dump(self, address: Address, file: Path) -> None:
        """Write all of one of its databases to a file, by the pg_dump of its image.

        Raises:
            InfraError: when it cannot be, in its own words.
        """
        if self._container is None:
            raise InfraError(f"{self.description}, was not started, and has no database")
        tls = Tls(REQUIRE) if address.tls else None
        within = replace(address, host=HOST, port=PORT, tls=tls)
        self._container.write_output(dump_command(within), file)

    def drop(self, name: str) -> None:
        """Drop the database ``name``, ending its connections."""
        drop_database(self.address, name)

    def place(self) -> Mapping[str, str] | None:
        """Return the network that it is in, and its name there."""
        place = {"network": self._belongings.network, "host": self._host}
        return place if self._certificates is None else {**place, **self._certificates.place()}

    def stop(self, *, keep: bool = False) -> None:  # noqa: ARG002 - it is never asked to
        """Remove the container and all data. Safe to call twice."""
        self._address = None
        if self._container is not None:
            self._container.remove()
            self._container = None


def _answers(address: Address, container: RunningContainer) -> bool:
    # First: one that ended at once would be waited for until the time is over.
    container.check_alive()
    return answers(address)
