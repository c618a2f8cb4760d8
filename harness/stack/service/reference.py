"""The bundled reference service, as processes of this machine."""

from __future__ import annotations

import os
from pathlib import Path

from harness.catalog.releases import Service
from harness.core.provenance import digest_of_environment, digest_of_files
from harness.core.scenarios import prefix_of
from harness.machine.errors import UsageError
from harness.machine.processes import HOST, ManagedProcess, free_port
from harness.machine.tools import ROOT, tool_python
from harness.stack.database.server import Database
from harness.stack.reference import faults
from harness.stack.reference.levels import LEVELS
from harness.stack.service.launcher import RunningService
from harness.stack.service.settings import service_settings

REQUIREMENTS = ("aiohttp>=3.9,<4", "psycopg[binary,pool]>=3.2,<4")
"""What the reference service needs, in a tool environment of its own."""


class ReferenceLauncher:
    """Starts reference levels; the first start makes their tool environment.

    Args:
        mark: what the processes belong to, to find them again after a crash of the harness.
        prefix: the path below which they answer; empty for none.
    """

    description = "reference service, as processes"

    # One process serves both APIs, and that levels answer so is no news: it is the control.
    start_unmigrated = None

    def __init__(self, mark: str) -> None:
        self._mark = mark
        self._python: Path | None = None
        self._environment = ""

    def prepare(self, services: tuple[Service, ...]) -> None:
        """Make the tool environment.

        Raises:
            UsageError: for a service that is no reference level.
            InfraError: when the environment cannot be made.
        """
        for service in services:
            if service.kind != "reference":
                raise UsageError(
                    f"{service.name} is a {service.kind} service; this launcher has only reference "
                    "levels. Released services need --backend docker or --checkout PATH."
                )
            if str(service.version) not in LEVELS:
                raise UsageError(
                    f"there is no reference level {service.version}: {', '.join(LEVELS)}"
                )
        self._python = tool_python("reference", REQUIREMENTS)
        self._environment = digest_of_environment(self._python)

    def code(self, service: Service) -> str:
        """Return the level, with digests of the package and of the tool environment."""
        package = ROOT / "harness" / "stack" / "reference"
        code = digest_of_files(sorted(package.glob("*.py")))
        # Part of what ran: results under a fault must not be taken for others.
        fault = os.environ.get(faults.VARIABLE, "")
        self._interpreter(service)
        on = f"{code} on {self._environment}"
        return f"level {service.version} of {on}" + (f" with {fault}" if fault else "")

    def start(
        self, service: Service, database: Database, log: Path, scenario: str = ""
    ) -> RunningService:
        """Start a level over a database and return at once."""
        python = self._interpreter(service)
        return _RunningReference(
            *(python, service, database, log),
            mark=self._mark,
            code=self.code(service),
            prefix=prefix_of(scenario),
        )

    def _interpreter(self, service: Service) -> Path:
        if self._python is None:
            self.prepare((service,))
        assert self._python is not None
        return self._python


class _RunningReference:
    picks_release = False

    def __init__(
        self,
        python: Path,
        service: Service,
        database: Database,
        log: Path,
        *,
        mark: str,
        code: str,
        prefix: str,
    ) -> None:
        self.service = service
        self.log = log
        level = str(service.version)
        self.origin = ""
        self.code = code
        self._command = [str(python), "-m", "harness.stack.reference", "--level", level]
        metadata_port, migration_port = free_port(), free_port()
        self.url = f"http://{HOST}:{metadata_port}{prefix}"
        has_migrations = LEVELS[level].has_migrations
        self.migration_url = f"http://{HOST}:{migration_port}" if has_migrations else None
        # A mark of its own: ending one service must not end what else the run has started.
        self._mark = f"{mark}/{service.name}-{metadata_port}"
        self._env = {
            "PATH": os.environ.get("PATH", os.defpath),
            # As a checkout's, and an image's: the zone of this machine is to decide nothing.
            "TZ": "UTC",
            **service_settings(database.service_address, metadata_port, migration_port, prefix),
        }
        if faults.VARIABLE in os.environ:
            self._env[faults.VARIABLE] = os.environ[faults.VARIABLE]
        self._process = self._spawn()

    def _spawn(self) -> ManagedProcess:
        # The project's folder is where the package is found.
        return ManagedProcess(self._command, env=self._env, mark=self._mark, log=self.log, cwd=ROOT)

    def restart(self) -> None:
        """Stop and start again on the same database and ports."""
        self.stop()
        self._process = self._spawn()

    def check_alive(self) -> None:
        """Raise EndedError, with the last log lines, when the service does not run any more."""
        self._process.check_alive(f"the service {self.service.name}")

    def stop(self) -> None:
        """Stop the process. Safe to call twice."""
        self._process.stop()
