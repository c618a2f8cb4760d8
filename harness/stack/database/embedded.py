"""A private PostgreSQL of the run, from the binaries of a PyPI wheel or of the system."""

from __future__ import annotations

import functools
import os
import secrets
import signal
import socket
from collections.abc import Mapping
from pathlib import Path

from harness.core.provenance import digest_of_files
from harness.machine.errors import InfraError, UsageError
from harness.machine.processes import HOST, ManagedProcess, free_port, tail, tail_note, wait_until
from harness.stack.database.admin import RUN_SETTINGS, answers, create_database, drop_database
from harness.stack.database.binaries import find_binaries, version_of
from harness.stack.database.cluster import (
    Cluster,
    clean_environment,
    make_home,
    remove_leftovers,
    run_as,
    running_server,
    unprivileged_user,
)
from harness.stack.database.dump import dump
from harness.stack.database.server import Address, Database
from harness.stack.database.tls import Certificates

_UNPRIVILEGED_PORT = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
_START_SECONDS = 60.0
_PORT_TRIES = 5

_SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    **RUN_SETTINGS,
    # Segments are files of the cluster, so that a killed server leaves none in /dev/shm.
    "dynamic_shared_memory_type": "mmap",
}


class EmbeddedPostgres:
    """A DatabaseServer whose cluster is made at start and removed at stop.

    Args:
        folder: of the run; holds ``postgres.log``, and the cluster where it is reachable.
        mark: what its processes belong to (see ManagedProcess).
        binaries: a folder or a major (see find_binaries); empty for the wheel's first.
        port: to listen on; None for one the system chooses.
        user: the superuser that is made.
        password: of that user; None for a random one.
        certificates: those it demands to be reached by; None for no TLS.
    """

    cluster: Cluster | None = None
    """The cluster, once there is one."""

    def __init__(
        self,
        folder: Path,
        mark: str,
        *,
        binaries: str = "",
        port: int | None = None,
        user: str = "metaflow",
        password: str | None = None,
        certificates: Certificates | None = None,
    ) -> None:
        self.description = "PostgreSQL, embedded"
        self.log = folder / "postgres.log"
        self._folder = folder.absolute()
        self._mark = mark
        self._binaries = binaries
        self._port = port
        self._user = user
        self._password = password or secrets.token_urlsafe(24)
        self._certificates = certificates
        self._encrypted = False
        self._resumed = False
        self._outlives = False
        self._process: ManagedProcess | None = None
        self._address: Address | None = None

    @property
    def address(self) -> Address:
        """The server's own ``postgres`` database.

        Raises:
            InfraError: before the server is started.
        """
        if self._address is None:
            raise InfraError("the embedded PostgreSQL is not started")
        return self._address

    @functools.cached_property
    def code(self) -> str:
        """Digest of the program that serves."""
        return digest_of_files([find_binaries(self._binaries) / "postgres"])

    @property
    def programs(self) -> Path | None:
        """The folder that its cluster was made by; None before there is one."""
        return self.cluster.binaries if self.cluster else None

    def start(self) -> None:
        """Make the cluster, start the server and return when it answers queries.

        Raises:
            UsageError: when the given port cannot be used, the given binaries are none, or no user
                of this machine can run them.
            InfraError: with the last log lines when it does not come up.
        """
        runs_as = unprivileged_user()
        if self._port is not None:
            check_port(self._port, runs_as)
        binaries = find_binaries(self._binaries)
        try:
            cluster = make_home(self._folder, binaries, runs_as)
            version = version_of(cluster.binaries / "postgres", runs_as, cluster.home)
            self.description = f"PostgreSQL {version}, embedded"
            self._make_cluster(cluster, runs_as)
            self._encrypted = False
            self._start_server(cluster, runs_as)
            self._encrypt()
        except BaseException:  # Ctrl-C while it starts must leave nothing either
            self.stop()
            raise
        self.cluster = cluster

    def resume(self, cluster: Cluster, *, outlives: bool = False) -> None:
        """Serve a cluster that a run kept; return when it answers queries.

        Where a server over it runs already, that one is used, and is not stopped by ``stop``.

        Args:
            cluster: what was kept.
            outlives: whether the server may run on when this process has ended.

        Raises:
            InfraError: when the cluster or its binaries are gone, or with the last log lines when
                the server does not come up.
        """
        for path in (cluster.data, cluster.binaries / "postgres"):
            if not path.exists():
                raise InfraError(f"the kept database cannot be served: {path} is gone")
        self._resumed, self._outlives = True, outlives
        self._encrypted = self._certificates is not None
        self.cluster = cluster
        running = running_server(cluster.data)
        if running is not None and running.port:
            self._address = self._own_address(running.port)
            return
        try:
            self._start_server(cluster, unprivileged_user())
        except BaseException:
            self.stop()
            raise

    def check_alive(self) -> None:
        """Raise EndedError, with the last log lines, when the server does not run any more."""
        if self._process is not None:
            self._process.check_alive("PostgreSQL")

    def revive(self) -> None:
        """Start it again on its cluster and port; return when it answers queries.

        Raises:
            InfraError: with the last log lines, when it does not come up.
        """
        address = self.address
        if self._process is None or self.cluster is None:
            raise InfraError("PostgreSQL, which somebody else had started, is not started again")
        # What the dead server has left holds the shared memory, which a new one would refuse.
        self._process.kill()
        self._start_server(self.cluster, unprivileged_user(), address.port)

    def create(self, name: str) -> Database:
        """Create the empty database ``name`` and return how to reach it.

        Raises:
            InfraError: when it exists already.
        """
        address = create_database(self.address, name)
        return Database(address, address)

    def dump(self, address: Address, file: Path) -> None:
        """Write all of one of its databases to a file."""
        dump(address, file, self.programs)

    def drop(self, name: str) -> None:
        """Drop the database ``name``, ending its connections."""
        drop_database(self.address, name)

    def place(self) -> Mapping[str, str] | None:
        """Return where the cluster is, and the programs that serve it."""
        if self.cluster is None:
            return None
        place = {"home": str(self.cluster.home), "binaries": str(self.cluster.binaries)}
        return place if self._certificates is None else {**place, **self._certificates.place()}

    def stop(self, *, keep: bool = False) -> None:
        """Stop the server and remove the cluster; the log stays. Safe to call twice.

        Args:
            keep: leave the cluster, for ``resume``; one that was resumed always stays.
        """
        self._address = None
        if self._process is not None:
            # SIGINT is PostgreSQL's "fast" shutdown: it ends the connections, then itself. Its
            # children lead sessions of their own, so signalling the group reaches the server only.
            self._process.stop(signal.SIGINT)
            self._process = None
        if not (keep or self._resumed):
            remove_leftovers(self._folder)

    def _own_address(self, port: int) -> Address:
        plain = Address(HOST, port, self._user, self._password, "postgres")
        return self._certificates.over(plain) if self._certificates and self._encrypted else plain

    def _encrypt(self) -> None:
        if self._certificates is None:
            return
        address = self._certificates.encrypt(self.address)
        self._encrypted = True
        wait_until(
            lambda: answers(address),
            seconds=_START_SECONDS,
            what=f"PostgreSQL at {address.host}:{address.port}, by TLS",
            log=self.log,
        )
        self._address = address
        self.description += f", TLS {self._certificates.mode}"

    def _make_cluster(self, cluster: Cluster, runs_as: int | None) -> None:
        home = cluster.home
        password_file = home / "password"
        password_file.touch(mode=0o600)
        password_file.write_text(self._password, encoding="utf-8")
        if runs_as is not None:
            os.chown(password_file, runs_as, runs_as)
        command = [
            str(cluster.binaries / "initdb"),
            f"--pgdata={cluster.data}",
            f"--username={self._user}",
            f"--pwfile={password_file}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",  # the one locale every machine has; ids and names sort by their bytes
            "--no-sync",
        ]
        finished = run_as(command, runs_as, home)
        password_file.unlink()
        if finished.returncode:
            last = "\n".join((finished.stdout + finished.stderr).splitlines()[-15:])
            raise InfraError(f"the PostgreSQL cluster could not be made by initdb:\n{last}")

    def _start_server(self, cluster: Cluster, runs_as: int | None, again: int = 0) -> None:
        """Start on the given port, or on chosen ones until one is not taken meanwhile.

        Args:
            cluster: what is served.
            runs_as: the user's id; None for the present one.
            again: the port of before; 0 for none.
        """
        for _ in range(_PORT_TRIES):
            port = again or self._port or free_port()
            command = [str(cluster.binaries / "postgres"), "-D", str(cluster.data), "-p", str(port)]
            for setting, value in _SETTINGS.items():
                command += ["-c", f"{setting}={value}"]
            self._process = ManagedProcess(
                command,
                env=clean_environment(),
                mark=self._mark,
                log=self.log,
                cwd=cluster.home,
                user=runs_as,
                outlives=self._outlives,
            )
            address = self._own_address(port)
            if self._comes_up(self._process, address):
                self._address = address
                return
        raise InfraError(
            f"PostgreSQL found its port taken {_PORT_TRIES} times{tail_note(self.log)}"
        )

    def _comes_up(self, process: ManagedProcess, address: Address) -> bool:
        """Wait until queries are answered; return False when a chosen port was taken meanwhile."""
        taken = False

        def answers_or_taken() -> bool:
            nonlocal taken
            if process.poll() is not None and self._port is None:
                taken = "could not bind" in tail(self.log)
            if taken:
                return True
            process.check_alive("PostgreSQL")
            return answers(address)

        where = f"PostgreSQL at {HOST}:{address.port}"
        wait_until(answers_or_taken, seconds=_START_SECONDS, what=where, log=self.log)
        return not taken


def check_port(port: int, runs_as: int | None = None) -> None:
    """Raise UsageError, naming the port, when a server cannot listen on it at 127.0.0.1.

    Args:
        port: which.
        runs_as: the id of the user that the server runs as; None for the present one.
    """
    otherwise = "choose another, or leave it out and the system chooses one"
    if runs_as is not None and 0 <= port < _first_for_all():
        # Root may take it, and would find it free.
        raise UsageError(
            f"the database port {port} cannot be used: below {_first_for_all()} only root may"
            f" listen, and PostgreSQL does not run as root; {otherwise}"
        )
    with socket.socket() as probe:
        # As PostgreSQL does: a port whose last connections are still fading away is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError) as error:
            raise UsageError(
                f"the database port {port} cannot be used: {error}; {otherwise}"
            ) from error


def _first_for_all() -> int:
    """Return the first port that every user of this machine may listen on."""
    try:
        return int(_UNPRIVILEGED_PORT.read_text("utf-8"))
    except (OSError, ValueError):  # another system than Linux
        return 1024
