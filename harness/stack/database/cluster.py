"""A PostgreSQL cluster on disk: where it lies, who runs its programs, who serves it, its removal.

PostgreSQL refuses to run as root. As root its programs therefore run as ``nobody``, and when that
user cannot reach the run's folder or the binaries (a home of mode 0700, say) the cluster and a
copy of the binaries live in a temporary folder of its own for as long as the server does.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from harness.machine.errors import InfraError, UsageError
from harness.machine.processes import marked, wait_until

_TEMPORARY = "metaflow-compat-postgres-"
_STOP_SECONDS = 10.0
_PORT_LINE = 3


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
class RunningServer:
    """A process that serves a cluster; its port is 0 until it has told it."""

    pid: int
    port: int


def running_server(data: Path) -> RunningServer | None:
    """Return the server over ``data``, as its ``postmaster.pid`` tells; None when none runs."""
    try:
        lines = (data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        # The file's lines: process id, data directory, time of start, port, and more; a server
        # that is just starting has not written them all.
        found = RunningServer(
            int(lines[0]), int(lines[_PORT_LINE]) if len(lines) > _PORT_LINE else 0
        )
    except (FileNotFoundError, IndexError, ValueError):
        return None
    return found if _serves(found.pid, data) else None


def end_server(data: Path) -> bool:
    """End the server over a data directory: asked first, killed after a grace.

    Returns:
        Whether there was one.
    """
    found = running_server(data)
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


def unprivileged_user() -> int | None:
    """Return the id to run PostgreSQL as; None for the present user, who is not root.

    Raises:
        UsageError: when this machine does not know the user, as PostgreSQL wants it to.
    """
    present = os.geteuid()
    if present != 0:
        try:
            pwd.getpwuid(present)
        except KeyError as error:
            raise UsageError(
                f"PostgreSQL runs for no user without a name: the id {present} has no entry in"
                " /etc/passwd; add one, or run as another user"
            ) from error
        return None
    try:
        return pwd.getpwnam("nobody").pw_uid
    except KeyError as error:
        raise UsageError(
            "PostgreSQL does not run as root and this machine has no user 'nobody'; "
            "run as an ordinary user"
        ) from error


def make_home(folder: Path, binaries: Path, runs_as: int | None) -> Cluster:
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
    return run_as(["test", how, str(path)], user, Path("/")).returncode == 0


def run_as(command: list[str], user: int | None, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, as ``user`` where one is given, in a clean environment."""
    return subprocess.run(
        command,
        user=user,
        group=user,
        extra_groups=None if user is None else [],
        cwd=cwd,
        env=clean_environment(),
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )


def clean_environment() -> dict[str, str]:
    """Return a clean environment, with the mark: PG* of the caller would change what is started."""
    return marked({"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"})
