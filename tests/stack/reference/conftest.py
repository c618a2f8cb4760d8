"""A reference service of any level over a database of its own, asked over HTTP."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import requests
from packaging.version import Version

from harness.catalog.releases import Service
from harness.machine.processes import wait_until
from harness.stack.database.server import Database
from harness.stack.reference.levels import LEVELS, Level
from harness.stack.service.launcher import RunningService
from harness.stack.service.reference import ReferenceLauncher

STAMP = {
    "user_name": "me",
    "tags": ["a", "b"],
    "system_tags": ["user:me", "metaflow_version:2.7.23"],
}


@dataclass
class Api:
    """One running level, and how to ask it."""

    level: Level
    running: RunningService
    database: Database
    session: requests.Session

    def ask(self, method: str, path: str, body: Any = None, at: str = "") -> requests.Response:
        return self.session.request(method, (at or self.running.url) + path, json=body, timeout=10)

    def get(self, path: str) -> Any:
        reply = self.ask("GET", path)
        assert reply.status_code == 200, (path, reply.text)
        return reply.json()

    def post(self, path: str, body: Any) -> Any:
        reply = self.ask("POST", path, body)
        assert reply.status_code == 200, (path, reply.text)
        return reply.json()

    def status(self, method: str, path: str, body: Any = None) -> int:
        return self.ask(method, path, body).status_code

    def migrate(self, method: str, path: str) -> requests.Response:
        """Ask the migration API."""
        assert self.running.migration_url
        return self.ask(method, path, at=self.running.migration_url)

    def sql(self, query: str) -> list[tuple[Any, ...]]:
        with closing(self.database.address.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(query)
            return cursor.fetchall() if cursor.description else []

    def ready(self) -> bool:
        self.running.check_alive()
        urls = [url for url in (self.running.url, self.running.migration_url) if url]
        try:
            return all(self.ask("GET", "/ping", at=url).ok for url in urls)
        except requests.ConnectionError:
            return False

    def register_flow(self) -> str:
        """Return the path of a new flow."""
        path = f"/flows/Flow{uuid4().hex}"
        self.post(path, STAMP)
        return path

    def register_run(self) -> str:
        """Return the path of a new run of a new flow."""
        flow = self.register_flow()
        return f"{flow}/runs/{self.post(f'{flow}/run', STAMP)['run_number']}"

    def register_task(self, run: str = "", step: str = "start") -> str:
        """Return the path of a new task, of a new run unless one is given."""
        path = f"{run or self.register_run()}/steps/{step}"
        self.post(f"{path}/step", STAMP)
        return f"{path}/tasks/{self.post(f'{path}/task', STAMP)['task_id']}"


Serve = Callable[..., Api]


def service_of(level: str) -> Service:
    return Service(
        name=f"reference-{level}",
        kind="reference",
        version=Version(level),
        reported=LEVELS[level].reported,
        group=level,
        schema=max(LEVELS[level].migrations, default=0),
        migrates=LEVELS[level].has_migrations,
        image=None,
        ref=None,
        released=None,
    )


def start(stack: ExitStack, level: str, database: Database, log: Path) -> Api:
    launcher = ReferenceLauncher(f"tests-{os.getpid()}")
    running = launcher.start(service_of(level), database, log)
    stack.callback(running.stop)
    session = stack.enter_context(requests.Session())
    api = Api(LEVELS[level], running, database, session)
    wait_until(api.ready, seconds=20, what=f"level {level}", log=log)
    return api


@pytest.fixture
def serve(database: Database, tmp_path: Path) -> Iterator[Serve]:
    """Start a level over the test's own database; not migrated."""
    with ExitStack() as stack:
        yield lambda level: start(stack, level, database, tmp_path / f"{level}.log")


@pytest.fixture(scope="session", params=LEVELS)
def api(request, postgres, tmp_path_factory) -> Iterator[Api]:
    """Each level in turn, migrated, for tests that leave it as it is."""
    level = request.param
    database = postgres.create(f"level_{level.replace('.', '_')}")
    log = tmp_path_factory.mktemp("reference") / f"{level}.log"
    with ExitStack() as stack:
        running = start(stack, level, database, log)
        if running.level.has_migrations:
            assert running.migrate("PATCH", "/upgrade").ok
        yield running
    postgres.drop(f"level_{level.replace('.', '_')}")


@pytest.fixture
def stamp() -> dict[str, Any]:
    """What a client sends with all it registers."""
    return dict(STAMP)
