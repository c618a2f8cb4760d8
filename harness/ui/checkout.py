"""The UI backend of a clone of the metadata service, as processes of this machine."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from packaging.requirements import Requirement

from harness.catalog.releases import Catalog, Program, Service
from harness.machine.dependencies import resolved_tool
from harness.machine.errors import InfraError, UsageError
from harness.machine.output import write_ours
from harness.machine.processes import HOST, ManagedProcess
from harness.machine.tools import tool_python
from harness.stack.database.server import Database
from harness.stack.service.checkout import (
    find_python,
    find_pythons,
    joined,
    package_folder,
    told_packages,
)
from harness.stack.service.git import Clone
from harness.stack.service.refs import file_of, reported_by, requirements_of, source_of
from harness.ui.assets import with_assets
from harness.ui.backend import ui_settings
from harness.ui.launcher import DataSource, RunningUI


@dataclass(frozen=True)
class _Prepared:
    """A UI backend that can be started: its files with the page, its Python, its version.

    Attributes:
        told: what of its dependencies is told in its log.
    """

    folder: Path
    python: Path
    packages: Path | None
    program: Program
    told: str

    def environment(self, home: Path) -> dict[str, str]:
        """Return the variables of its processes, which are started in ``home``.

        The backend writes its cache where it is started, and its workers look their code up on
        the path.
        """
        folders = [self.folder / self.program.folder, self.packages]
        return {
            "PATH": os.pathsep.join([str(self.python.parent), os.defpath]),
            "PYTHONPATH": os.pathsep.join(str(folder) for folder in folders if folder is not None),
            "HOME": str(home),
            # Else these are folders that all UIs and users of the machine share.
            "TMPDIR": str(home),
            "METAFLOW_CLIENT_CACHE_PATH": str(home / "client-cache"),
            "CARD_CACHE_STORAGE_PATH": str(home / "card-cache"),
        }


class CheckoutUI:
    """Starts UI backends from a clone, which stays as it is.

    Args:
        clone: where refs come from.
        catalog: tells what UI backends need.
        assets: the built page, checked before.
        work: folder for what the backends write.
        mark: what the processes belong to.
        whole: start as many workers as a backend would unasked.
        triggers: let it make its triggers in the database.
        outlives: whether it may run on when this process has ended.
    """

    def __init__(
        self,
        clone: Clone,
        catalog: Catalog,
        assets: Path,
        work: Path,
        mark: str,
        *,
        whole: bool,
        triggers: bool,
        outlives: bool,
    ) -> None:
        self._clone = clone
        self._catalog = catalog
        self._assets = assets
        self._work = work
        self._mark = mark
        self._whole = whole
        self._triggers = triggers
        self._outlives = outlives
        self._prepared: dict[Service, _Prepared] = {}
        self.description = f"UI backend from {clone.given}, as processes, with the page {assets}"

    def prepare(self, versions: Sequence[Service]) -> None:
        """Lay the releases out with the page, and make their environments.

        Raises:
            UsageError: when what a ref itself requires does not install.
            InfraError: when no Python fits, or the environment cannot be made.
        """
        for version in versions:
            # Others are made when they are started: what cannot be had keeps no other from it.
            if not version.deps.name:
                self._find(version)

    def _find(self, version: Service) -> _Prepared:
        if version not in self._prepared:
            self._prepared[version] = self._prepare(version)
        return self._prepared[version]

    def _prepare(self, version: Service) -> _Prepared:
        layout = version.layout
        assert layout is not None, "a version that was selected for its UI"
        assert layout.ui is not None, "a version that was selected for its UI"
        source = source_of(self._clone, version)
        own = joined((), requirements_of(source, [layout.ui]))
        python, told = self._environment(version, own, self._clone.day(source.commit))
        page = Path(file_of(layout.ui).parent) / "ui"
        folder = with_assets(source.lay_out(), page, self._assets)
        reported = reported_by(source)
        packages = package_folder(reported) if reported else None
        return _Prepared(folder, python, packages, layout.ui, told)

    def _environment(self, version: Service, own: Sequence[str], day: date) -> tuple[Path, str]:
        """Return the Python of a UI backend, and what of its dependencies is to be told.

        Args:
            version: of the backend.
            own: what its files say that it requires: a Metaflow, too.
            day: of its commit.
        """
        deps, pythons = version.deps, self._catalog.service_pythons
        assert version.layout is not None, "a version that was selected for its UI"
        if deps.name:
            released = version.released or day
            found = find_pythons(pythons, deps, released)
            # Its own files name the rest: what they leave out is missing in its image, too.
            shared = deps.pins(self._catalog.service_requirements)
            wanted = joined([*shared, *version.layout.requirements], own)
            python = resolved_tool("ui", wanted, found, deps, released)
            return python, told_packages(deps, (), python)
        pins = pins_of_ui(self._catalog, version)
        if version.released is not None:
            python = tool_python("ui", pins, find_python(pythons))
            return python, told_packages(deps, pins, python)
        try:
            python = tool_python("ui", joined(pins, own), find_python(pythons))
        except InfraError as error:
            raise UsageError(
                f"what the UI backend of {version.name} requires does not install: {error}"
            ) from error
        return python, told_packages(deps, pins, python)

    def notes(self, version: Service) -> list[str]:
        """Return what a good UI rests on."""
        if version.deps.name:
            return []
        pins = [pin for pin in pins_of_ui(self._catalog, version) if Requirement(pin).specifier]
        told = f"{', '.join(pins)} are pinned for the UI backend of {version.name}"
        return [f"{told}, which may not work without them: --service-deps latest tells"]

    def start(
        self, version: Service, source: DataSource, database: Database, port: int, log: Path
    ) -> RunningUI:
        """Start a UI backend in a process group of its own and return at once."""
        prepared = self._find(version)
        settings = ui_settings(
            database.address,
            HOST,
            port,
            page=True,
            whole=self._whole,
            triggers=self._triggers,
        )
        home = self._work / f"ui-{version.slug}"
        home.mkdir(parents=True, exist_ok=True)
        write_ours(log, f"{version.name}: {prepared.told}")
        process = ManagedProcess(
            [str(prepared.python), "-m", prepared.program.module],
            env={**source.environment, **prepared.environment(home), **settings},
            mark=f"{self._mark}/ui-{version.slug}",
            log=log,
            cwd=home,
            outlives=self._outlives,
        )
        return _RunningProcess(version, f"http://{HOST}:{port}", process, log)


def pins_of_ui(catalog: Catalog, version: Service) -> list[str]:
    """Return what versions.json gives a UI backend, whatever its files ask for.

    To a release also the client that it reads data with. The published images were built with the
    newest one there was, whatever their source asks for; a newer one may read otherwise
    (docs/findings.md).
    """
    assert version.layout is not None, "a version that was selected for its UI"
    day, pins = version.released, [*catalog.service_requirements, *catalog.ui_requirements]
    pins += version.layout.requirements
    if day is None:
        return pins
    newest = [client for client in catalog.clients if client.released <= day][-1]
    return list(dict.fromkeys([*pins, f"metaflow=={newest.name}", *newest.pins]))


class _RunningProcess:
    def __init__(self, version: Service, url: str, process: ManagedProcess, log: Path) -> None:
        self.version = version.name
        self.page = self.api = url
        self.origin = f"UI backend of {version.name}"
        if version.label:
            self.origin += f" ({version.label})"
        self.log = log
        self.where_log = f"its log is {log}"
        self._process = process

    def check_alive(self) -> None:
        """Raise InfraError, with the last log lines, when the backend has ended by itself."""
        self._process.check_alive(f"the UI backend of {self.version}")

    def wait(self) -> None:
        """Return when it has ended."""
        self._process.wait(None)

    def stop(self) -> None:
        """End it with all its workers: it ignores being asked, by SIGTERM or SIGINT."""
        # async_loop_signal_handler() in its ui_server.py only logs them.
        self._process.kill()
