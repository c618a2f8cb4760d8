"""Released services, and the one under development, from a clone and as processes."""

from __future__ import annotations

import os
import re
import shutil
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from packaging.requirements import Requirement

from harness.catalog.interpreters import by_minor, find_interpreters
from harness.catalog.releases import Layout, Program, Service
from harness.catalog.versions import load
from harness.core.provenance import digest_of_environment, digest_of_files
from harness.core.scenarios import WRONG_ORDER, prefix_of
from harness.machine.dependencies import RELEASE_DAY, Dependencies, check_file, resolved_tool
from harness.machine.errors import InfraError, UsageError
from harness.machine.installed import versions_in
from harness.machine.output import write_ours
from harness.machine.processes import HOST, ManagedProcess, free_port
from harness.machine.tools import ROOT, tool_python
from harness.stack.database.server import Database
from harness.stack.service.git import CHECKOUTS, Clone
from harness.stack.service.launcher import RunningService
from harness.stack.service.migration import await_ready
from harness.stack.service.refs import code_of, reported_by, requirements_of, source_of
from harness.stack.service.settings import service_settings

GOOSE_FOLDER = ROOT / "harness" / "stack" / "goose" / "bin"
_CAME = {"3.8": date(2019, 10, 14), "3.9": date(2020, 10, 5)} | {
    "3.10": date(2021, 10, 4),
    "3.11": date(2022, 10, 24),
}
"""When minor versions of Python came."""
PACKAGE = "metadata_service"
"""The package under whose name releases look their own version up."""


@dataclass(frozen=True)
class _Prepared:
    """A service that can be started: its files, its Python, and what tells it its version.

    Attributes:
        told: what of its dependencies is told in its log.
        code: tells what runs from any other code.
    """

    folder: Path
    python: Path
    packages: Path | None
    told: str
    code: str


class CheckoutLauncher:
    """Starts services from a clone, which stays as it is.

    Args:
        clone: where refs come from.
        requirements: what every one of them needs.
        pythons: the minor versions of Python that run them, preferred first.
        mark: what the processes belong to, to find them again after a crash of the harness.
    """

    def __init__(
        self,
        clone: Clone,
        requirements: Sequence[str],
        pythons: Sequence[str],
        mark: str,
    ) -> None:
        self._clone = clone
        self._requirements = tuple(requirements)
        self._pythons = tuple(pythons)
        self._mark = mark
        # A real goose is what operators use; the harness's own needs nothing installed.
        self._goose = _find_goose()
        self._prepared: dict[Service, _Prepared] = {}
        # Stacks of several services start side by side.
        self._preparing = threading.Lock()
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
            # Others are made when they are started: what cannot be had keeps no other from it.
            if not service.deps.name:
                self._find(service)

    def code(self, service: Service) -> str:
        """Return digests of its files and environment, and the version that it will report."""
        return self._find(service).code

    def start(
        self, service: Service, database: Database, log: Path, scenario: str = ""
    ) -> RunningService:
        """Start a service over a database: first only what migrates it, where there is such.

        A metadata service of 2.0.0 to v2.2.3 would create tables in an empty database, which no
        migration can deal with; so it follows with the first ``restart``. In the wrong order it
        comes first.
        """
        running = self._running(service, database, log, prefix_of(scenario))
        told = f"goose: {self._goose or GOOSE_FOLDER / 'goose'}", self._find(service).told
        write_ours(log, *(f"{service.name}: {line}" for line in told))
        try:
            running.begin(wrong_order=scenario == WRONG_ORDER)
        except BaseException:
            running.stop()
            raise
        return running

    def start_unmigrated(self, service: Service, database: Database, log: Path) -> RunningService:
        """Start a metadata service alone, over a database that nobody has migrated."""
        running = self._running(service, database, log, prefix="")
        running.begin_alone()
        return running

    def _running(
        self, service: Service, database: Database, log: Path, prefix: str
    ) -> _RunningCheckout:
        prepared = self._find(service)
        return _RunningCheckout(service, prepared, database, log, self._mark, prefix=prefix)

    def _find(self, service: Service) -> _Prepared:
        with self._preparing:
            if service not in self._prepared:
                self._prepared[service] = self._prepare(service)
            return self._prepared[service]

    def _prepare(self, service: Service) -> _Prepared:
        layout = service.layout
        if layout is None:
            raise UsageError(f"{service.name} is a {service.kind} service, which no clone holds")
        source = source_of(self._clone, service)
        programs = (layout.metadata, layout.migration)
        own = requirements_of(source, programs)
        folder = source.lay_out()
        python, told = self._environment(service, own, self._clone.day(source.commit))
        version = reported_by(source)
        parts = [code_of(source, layout), f"reports {version}"]
        parts += [f"on {digest_of_environment(python)}"]
        # The harness's own goose is told by the harness's digest.
        parts += [f"goose {digest_of_files([Path(self._goose)])}"] if self._goose else []
        packages = package_folder(version) if version else None
        return _Prepared(folder, python, packages, told, ", ".join(parts))

    def _environment(self, service: Service, own: Sequence[str], day: date) -> tuple[Path, str]:
        """Return the Python of a service, and what of its dependencies is to be told.

        Args:
            service: the service.
            own: what its files say that it requires.
            day: of its commit.
        """
        deps = service.deps
        assert service.layout is not None, "looked at before"
        shared = [*deps.pins(self._requirements), *service.layout.requirements]
        if deps.name:
            released = service.released or day
            wanted, pythons = joined(shared, own), find_pythons(self._pythons, deps, released)
            python = resolved_tool("service", wanted, pythons, deps, released)
            return python, told_packages(deps, (), python)
        if service.kind != "checkout":
            python = tool_python("service", shared, find_python(self._pythons))
            return python, told_packages(deps, shared, python)
        try:
            # What releases need is known and was tried; a ref may ask for something new.
            python = tool_python("service", joined(shared, own), find_python(self._pythons))
        except InfraError as error:
            raise UsageError(f"what {service.name} requires does not install: {error}") from error
        return python, told_packages(deps, shared, python)


def told_packages(deps: Dependencies, pins: Sequence[str], python: Path) -> str:
    """Return what is told of an environment: what decided its packages, and each of them.

    Args:
        deps: which versions it has.
        pins: what is pinned; told where that is what decides.
        python: its Python.
    """
    how = f"--service-deps {deps.given}" if deps.name else f"pinned: {', '.join(pins)}; installed"
    return f"{how}: {', '.join(f'{name}=={one}' for name, one in versions_in(python).items())}"


def service_pins(services: Iterable[Service]) -> list[str]:
    """Return what says that services rest on what versions.json pins; nothing where none does."""
    names = [service.name for service in services if not service.deps.name]
    pins = [pin for pin in load().service_requirements if Requirement(pin).specifier]
    told = f"{', '.join(pins)} are pinned for {', '.join(names)}, which may not work without them"
    return [f"{told}: --service-deps latest tells"] if names and pins else []


def check_service_file(deps: Dependencies, preferred: Sequence[str]) -> None:
    """Raise UsageError for a file that none of the Pythons a service may get can have.

    Args:
        deps: what services get; nothing is looked at where that is no file.
        preferred: the minor versions that run every release, preferred first.
    """
    if deps.file is not None:
        # No day decides here: a file's packages are those of today.
        check_file("--service-deps", deps, find_pythons(preferred, deps, date.max))


def find_pythons(preferred: Sequence[str], deps: Dependencies, day: date) -> list[str]:
    """Return the interpreters of this machine that may run a service, the likeliest first.

    Packages of a day have nothing for a Python that came later: those come last there.

    Args:
        preferred: the minor versions that run every release, preferred first.
        deps: what it has.
        day: when it was released.

    Raises:
        InfraError: when there is none, saying how to get one.
    """
    found = find_interpreters()
    newest = max(map(by_minor, preferred))
    older = [one for one in sorted(found, key=by_minor, reverse=True) if by_minor(one) <= newest]
    order = dict.fromkeys((*preferred, *older))
    if deps.name == RELEASE_DAY:
        order = dict.fromkeys(sorted(order, key=lambda one: _CAME.get(one, day) > day))
    return [str(found[one]) for one in order if one in found] or [find_python(preferred)]


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
        self,
        service: Service,
        prepared: _Prepared,
        database: Database,
        log: Path,
        mark: str,
        *,
        prefix: str,
    ) -> None:
        assert service.layout is not None
        self.service = service
        self.origin = service.label
        self.code = prepared.code
        self.log = log
        self._layout: Layout = service.layout
        self._prepared = prepared
        metadata_port, migration_port = free_port(), free_port()
        self.url = f"http://{HOST}:{metadata_port}{prefix}"
        has_migrations = self._layout.migration is not None
        self.migration_url = f"http://{HOST}:{migration_port}" if has_migrations else None
        # A mark of its own: ending one service must not end what else the run has started.
        self._mark = f"{mark}/{service.slug}-{metadata_port}"
        self._env = {
            "PATH": _path(prepared.python),
            # As in images: releases take UTC for local time, so elsewhere heartbeats are hours off.
            "TZ": "UTC",
            **service_settings(database.service_address, metadata_port, migration_port, prefix),
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
