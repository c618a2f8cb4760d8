"""Released services, and the one under development, from a clone and as processes."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.catalog.interpreters import find_interpreters
from harness.catalog.releases import Layout, Program, Service
from harness.machine.errors import InfraError, UsageError
from harness.machine.processes import HOST, ManagedProcess, free_port
from harness.machine.tools import ROOT, tool_python
from harness.stack.database.server import Database
from harness.stack.service.git import CHECKOUTS, Clone
from harness.stack.service.launcher import RunningService
from harness.stack.service.migration import await_ready
from harness.stack.service.refs import reported_by, requirements_of, source_of
from harness.stack.service.settings import service_settings

GOOSE_FOLDER = ROOT / "harness" / "stack" / "goose" / "bin"
PACKAGE = "metadata_service"
"""The package under whose name releases look their own version up."""


@dataclass(frozen=True)
class _Prepared:
    """A service that can be started: its files, its Python, and what tells it its version."""

    folder: Path
    python: Path
    packages: Path | None


class CheckoutLauncher:
    """Starts services from a clone, which stays as it is.

    Args:
        clone: where refs come from.
        requirements: what every one of them needs.
        pythons: the minor versions of Python that run them, preferred first.
        mark: what the processes belong to, to find them again after a crash of the harness.
        wrong_order: whether the metadata service is started before the database is migrated.
    """

    def __init__(
        self,
        clone: Clone,
        requirements: Sequence[str],
        pythons: Sequence[str],
        mark: str,
        *,
        wrong_order: bool = False,
    ) -> None:
        self._clone = clone
        self._requirements = tuple(requirements)
        self._pythons = tuple(pythons)
        self._mark = mark
        self._wrong_order = wrong_order
        # A real goose is what operators use; the harness's own needs nothing installed.
        self._goose = _find_goose()
        self._prepared: dict[Service, _Prepared] = {}
        goose = self._goose or "the harness's own"
        self.description = f"services from {clone.given}, as processes; goose: {goose}"

    def prepare(self, services: tuple[Service, ...]) -> None:
        """Lay the refs out and make the tool environment, both once.

        Raises:
            UsageError: for a service that is in no clone, or when what a ref itself requires
                does not install.
            InfraError: when no Python fits, or the environment cannot be made.
        """
        for service in services:
            if service not in self._prepared:
                self._prepared[service] = self._prepare(service)

    def start(self, service: Service, database: Database, log: Path) -> RunningService:
        """Start a service over a database: first only what migrates it, where there is such.

        A metadata service of 2.0.0 to v2.2.3 would create tables in an empty database, which no
        migration can deal with; so it follows with the first ``restart``. In the wrong order it
        comes first.
        """
        running = self._running(service, database, log)
        with log.open("a", encoding="utf-8") as output:
            output.write(f"{service.name}: goose: {self._goose or GOOSE_FOLDER / 'goose'}\n")
        try:
            running.begin(wrong_order=self._wrong_order)
        except BaseException:
            running.stop()
            raise
        return running

    def start_unmigrated(self, service: Service, database: Database, log: Path) -> RunningService:
        """Start a metadata service alone, over a database that nobody has migrated."""
        running = self._running(service, database, log)
        running.begin_alone()
        return running

    def _running(self, service: Service, database: Database, log: Path) -> _RunningCheckout:
        self.prepare((service,))
        return _RunningCheckout(service, self._prepared[service], database, log, self._mark)

    def _prepare(self, service: Service) -> _Prepared:
        layout = service.layout
        if layout is None:
            raise UsageError(f"{service.name} is a {service.kind} service, which no clone holds")
        source = source_of(self._clone, service)
        requirements = [*self._requirements, *layout.requirements]
        if service.kind == "checkout":
            programs = (layout.metadata, layout.migration)
            # What releases need is known and was tried; a ref may ask for something new.
            requirements = joined(requirements, requirements_of(source, programs))
        folder = source.lay_out()
        try:
            python = tool_python("service", requirements, find_python(self._pythons))
        except InfraError as error:
            if service.kind == "checkout":
                raise UsageError(
                    f"what {service.name} requires does not install: {error}"
                ) from error
            raise
        version = reported_by(source)
        return _Prepared(folder, python, package_folder(version) if version else None)


def find_python(pythons: Sequence[str]) -> str:
    """Return the first interpreter of this machine that runs services.

    Args:
        pythons: minor versions, preferred first.

    Raises:
        InfraError: when there is none, saying how to get one.
    """
    found = find_interpreters()
    for minor in pythons:
        if minor in found:
            return str(found[minor])
    raise InfraError(
        f"services run on Python {' or '.join(pythons)}, and none is here; "
        f"for example: uv python install {pythons[0]}"
    )


class _RunningCheckout:
    picks_release = False

    def __init__(
        self, service: Service, prepared: _Prepared, database: Database, log: Path, mark: str
    ) -> None:
        assert service.layout is not None
        self.service = service
        self.origin = service.label
        # Both folders are named by what is in them.
        self.code = f"{prepared.folder.name} on {prepared.python.parent.parent.name}"
        self.log = log
        self._layout: Layout = service.layout
        self._prepared = prepared
        metadata_port, migration_port = free_port(), free_port()
        self.url = f"http://{HOST}:{metadata_port}"
        has_migrations = self._layout.migration is not None
        self.migration_url = f"http://{HOST}:{migration_port}" if has_migrations else None
        # A mark of its own: ending one service must not end what else the run has started.
        self._mark = f"{mark}/{service.slug}-{metadata_port}"
        self._env = {
            "PATH": _path(prepared.python),
            # As in images: releases take UTC for local time, so elsewhere heartbeats are hours off.
            "TZ": "UTC",
            **service_settings(database.service_address, metadata_port, migration_port),
        }
        if prepared.packages is not None:
            self._env["PYTHONPATH"] = str(prepared.packages)
        self._processes: dict[str, ManagedProcess] = {}
        log.parent.mkdir(parents=True, exist_ok=True)

    def begin(self, *, wrong_order: bool) -> None:
        """Start what has to come before the migration."""
        if wrong_order or self._layout.migration is None:
            self._spawn("metadata", self._layout.metadata)
        if self._layout.migration is not None:
            if wrong_order:
                # Its tables are to be there before the migration looks for them.
                await_ready(self)
            self._spawn("migration", self._layout.migration)

    def begin_alone(self) -> None:
        """Start the metadata service, and nothing that migrates."""
        self._spawn("metadata", self._layout.metadata)

    def restart(self) -> None:
        """Stop and start again, all of it, on the same database and ports."""
        self.stop()
        if self._layout.migration is not None:
            self._spawn("migration", self._layout.migration)
        self._spawn("metadata", self._layout.metadata)

    def check_alive(self) -> None:
        """Raise EndedError, with the last log lines, when one of its processes has ended."""
        for part, process in self._processes.items():
            process.check_alive(f"the {part} service of {self.service.name}")

    def stop(self) -> None:
        """Stop its processes. Safe to call twice."""
        for process in self._processes.values():
            process.stop()
        self._processes.clear()

    def _spawn(self, part: str, program: Program) -> None:
        self._processes[part] = ManagedProcess(
            [str(self._prepared.python), "-m", program.module],
            env=self._env,
            # Stopping a process ends everything that carries its mark: each has its own.
            mark=f"{self._mark}/{part}",
            log=self.log,
            cwd=self._prepared.folder / program.folder,
        )


def _find_goose() -> str | None:
    return shutil.which("goose")


def _path(python: Path) -> str:
    """Return the PATH of a service: its environment's, the system's, and where goose is."""
    goose = _find_goose()
    folder = Path(goose).parent if goose else GOOSE_FOLDER
    return os.pathsep.join([str(python.parent), str(folder), os.defpath])


def joined(shared: Sequence[str], own: Sequence[str]) -> list[str]:
    """Return what all releases need with what a ref asks for itself, each line once.

    What would be built by a compiler, psycopg2, is replaced by the same library built.
    """
    built = [re.sub(r"^psycopg2(?![\w-])", "psycopg2-binary", line) for line in own]
    return list(dict.fromkeys([*shared, *built]))


def package_folder(version: str) -> Path:
    """Return a folder of installed packages that says the service is there, in this version.

    Releases from 2.0.0 on look their own version up as that of an installed package. Installed
    they would share one environment only in turns; so each is told by its own PYTHONPATH.
    """
    folder = CHECKOUTS / "packages" / f"{PACKAGE}-{version}"
    info = folder / f"{PACKAGE}-{version}.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    text = f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: {version}\n"
    # Runs side by side may write it at the same time; a reader finds one of them, whole.
    unfinished = info / f".METADATA-{os.getpid()}"
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(info / "METADATA")
    return folder
