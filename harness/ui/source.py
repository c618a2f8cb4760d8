"""What a UI is deployed over: a database that a run kept, or one that somebody named."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psycopg2

from harness.catalog.releases import Service
from harness.core.told import SINCE, why_not
from harness.machine.errors import InfraError, UsageError, one_line
from harness.machine.processes import HOST
from harness.stack.containers.engine import Engine
from harness.stack.containers.own import find
from harness.stack.database.cluster import Cluster
from harness.stack.database.container import NAME, PORT
from harness.stack.database.embedded import EmbeddedPostgres
from harness.stack.database.external import ExternalPostgres
from harness.stack.database.rows import TABLES, is_empty, schema_version, tables_there
from harness.stack.database.server import Address, Database
from harness.stack.database.tls import Certificates
from harness.stack.kept_stack import Kept
from harness.stack.store import saved
from harness.stack.store.s3 import aws_variables
from harness.stack.store.server import CREDENTIALS, S3Server
from harness.ui.data_links import data_folders

_ENDPOINT = "METAFLOW_S3_ENDPOINT_URL"
"""The client a UI backend reads with is a new one, which wants no other variable."""

_DATA = ("METAFLOW_DATASTORE_", "METAFLOW_S3_", "METAFLOW_DEFAULT_DATASTORE", "METAFLOW_CARD_")


class _Store:
    """The object store of a kept run: somebody's own, or the run's own, which is served again.

    Args:
        kept: what is written down of the run.
        environ: the user's environment, for the keys of a store of their own.
        logs: folder for the log of a server.
        mark: what the server belongs to.
        outlives: whether it may run on when this process has ended.
    """

    def __init__(
        self, kept: Kept, environ: Mapping[str, str], logs: Path, mark: str, *, outlives: bool
    ) -> None:
        self._given = kept.stores.get("s3")
        self._saved = kept.data / "s3"
        self._environ = environ
        self._log = logs / "s3.log"
        self._mark = f"{mark}/s3"
        self._outlives = outlives
        self._server: S3Server | None = None

    def start(self, host: Callable[[], str]) -> dict[str, str]:
        """Serve what was saved; return the variables by which it is read, none without a store.

        Args:
            host: returns the address of this machine to listen on.
        """
        if self._given is not None:
            endpoint = {_ENDPOINT: self._given["endpoint"]} if self._given["endpoint"] else {}
            root = {"METAFLOW_DATASTORE_SYSROOT_S3": self._given["root"]}
            return {**aws_variables(self._environ), **root, **endpoint}
        if not self._saved.is_dir():
            return {}
        self._server = saved.serve(
            self._saved, self._mark, self._log, host(), outlives=self._outlives
        )
        return {**CREDENTIALS, _ENDPOINT: self._server.endpoint}

    def stop(self) -> None:
        """End the server; what it served is still there. Safe to call twice."""
        if self._server is not None:
            self._server.stop()


class KeptProcesses:
    """What an embedded run kept: the files of its database, which is served again.

    Args:
        kept: what is written down of it.
        environ: the user's environment.
        logs: folder for the logs of what is started.
        mark: what the processes belong to.
        outlives: whether they may run on when this process has ended.
    """

    network: str | None = None
    linked = True

    def __init__(
        self, kept: Kept, environ: Mapping[str, str], logs: Path, mark: str, *, outlives: bool
    ) -> None:
        self.description = f"the database that {kept.run} kept, as {kept.service} left it"
        self.environment: Mapping[str, str] = {}
        self.folders: tuple[Path, ...] = data_folders(kept)
        self._kept = kept
        self._outlives = outlives
        address = kept.database
        self._server = EmbeddedPostgres(
            logs,
            f"{mark}/database",
            user=address.user,
            password=address.password,
            certificates=Certificates.at(kept.place),
        )
        self._store = _Store(kept, environ, logs, mark, outlives=outlives)

    def start(self) -> Database:
        """Serve the cluster and the objects again."""
        self.environment = self._store.start(lambda: HOST)
        place = self._kept.place
        cluster = Cluster(Path(place["home"]), Path(place["binaries"]))
        self._server.resume(cluster, outlives=self._outlives)
        address = replace(self._server.address, name=self._kept.database.name)
        return Database(address, address)

    def stop(self) -> None:
        """End the servers; cluster and objects stay."""
        self._server.stop()
        self._store.stop()


class KeptContainers:
    """What a run over containers kept: its database goes on in its container.

    Args:
        kept: what is written down of it.
        engine: where it is.
        environ, logs, mark, outlives: as for KeptProcesses.
    """

    linked = True

    def __init__(
        self,
        kept: Kept,
        engine: Engine,
        environ: Mapping[str, str],
        logs: Path,
        mark: str,
        *,
        outlives: bool,
    ) -> None:
        self.description = f"the containers that {kept.run} kept, as {kept.service} left them"
        self.network: str | None = kept.place["network"]
        self.environment: Mapping[str, str] = {}
        self.folders: tuple[Path, ...] = data_folders(kept)
        self._kept = kept
        self._engine = engine
        self._store = _Store(kept, environ, logs, mark, outlives=outlives)

    def start(self) -> Database:
        """Find the container's port, which is another one after a restart of the engine."""
        self.environment = self._store.start(self._gateway)
        host = self._kept.place.get("host", NAME)
        with self._engine.doing(f"looking for the database of {self._kept.run}"):
            containers = find(self._engine, self._kept.run).containers
            database = next((one for one in containers if str(one.name).endswith(f"-{host}")), None)
        if database is None:
            raise InfraError(
                f"the containers of {self._kept.run} are gone; nox -s clean -- {self._kept.run}"
                " forgets them"
            )
        bound = database.attrs["NetworkSettings"]["Ports"].get(f"{PORT}/tcp")
        if not bound:
            raise InfraError(
                f"the container {database.name} does not run; docker start {database.name}"
            )
        address = replace(self._kept.database, port=int(bound[0]["HostPort"]))
        return Database(address, replace(address, host=host, port=PORT))

    def stop(self) -> None:
        """End the server of the objects; the containers go on."""
        self._store.stop()

    def _gateway(self) -> str:
        """Return this machine's address in the network: containers do not reach its 127.0.0.1."""
        with self._engine.doing(f"looking at the network {self.network}"):
            network = self._engine.client.networks.get(self._kept.place["network"])
        return str(network.attrs["IPAM"]["Config"][0]["Gateway"])


class GivenDatabase:
    """Somebody's own database, which is only read.

    Args:
        url: of ``--database-url``.
        environ: the user's environment, for what names and opens their datastore.
    """

    network: str | None = None
    linked = False

    def __init__(self, url: str, environ: Mapping[str, str]) -> None:
        self._server = ExternalPostgres(url)
        self.database = self._server.existing()
        address = self.database.address
        self.description = f"the database {address.name!r} at {address.host}:{address.port}"
        # What names the data, not what names a service: the UI reads by the database it is given.
        named = {name: environ[name] for name in environ if name.startswith(_DATA)}
        self.environment: Mapping[str, str] = {**named, **aws_variables(environ)}
        root = named.get("METAFLOW_DATASTORE_SYSROOT_LOCAL")
        self.folders: tuple[Path, ...] = (Path(root),) if root else ()

    def start(self) -> Database:
        """Reach it once."""
        self._server.start()
        return self.database

    def stop(self) -> None:
        """Do nothing: nothing was started."""


@contextmanager
def reading(address: Address) -> Iterator[None]:
    """Say in one sentence why a database cannot be read in the block.

    Args:
        address: of the database.

    Raises:
        UsageError: when the database refuses what is asked.
        InfraError: when it does not answer.
    """
    where = f"the database {address.name!r} at {address.host}:{address.port}"
    try:
        yield
    except (psycopg2.OperationalError, psycopg2.InterfaceError) as error:
        raise InfraError(f"{where} does not answer: {one_line(error)}") from error
    except psycopg2.Error as error:
        raise UsageError(
            f"{where} cannot be read as user {address.user!r}: {one_line(error)}"
        ) from error


def check_told(kept: Kept, versions: Sequence[Service]) -> None:
    """Raise UsageError for a UI that cannot be told how a kept database is reached."""
    for version in versions:
        if kept.database.tls and (why := why_not(version, kept.database.tls.mode, "")):
            raise UsageError(
                f"--ui-version {version.name}: the database that {kept.run} kept takes TLS alone,"
                f" and a UI backend {why}: --ui-version '>={SINCE}'"
            )


def check_database(
    address: Address, versions: Sequence[Service], available: Sequence[Service]
) -> None:
    """Refuse a database that a UI could not show.

    Args:
        address: of the database.
        versions: the UIs that are to be started.
        available: all that could be, for the error.

    Raises:
        UsageError: without Metaflow's tables; with a schema too old for one of the UIs.
    """
    where = f"the database {address.name!r} at {address.host}:{address.port}"
    missing = sorted(set(TABLES) - tables_there(address))
    if missing:
        what = "is empty" if is_empty(address) else f"has no table {missing[0]}"
        raise UsageError(
            f"{where} {what}: it is no database of a Metaflow metadata service; name another with"
            " --database-url, or let a run keep one with --keep"
        )
    schema = schema_version(address) or 0
    for version in versions:
        if version.schema > schema:
            fitting = [one for one in available if one.schema <= schema]
            instead = f", or --ui-version {fitting[-1].name}" if fitting else ""
            raise UsageError(
                f"{where} has schema {schema}, too old for the UI of {version.name}, which needs"
                f" {version.schema}: migrate it with the service first{instead}"
            )
