"""The command line: what starts, what does not, and what it says."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from harness.machine.processes import ManagedProcess, free_port, wait_until
from harness.machine.tools import ROOT, tool_python
from harness.stack.database.server import Database
from harness.stack.reference import faults
from harness.stack.service.reference import REQUIREMENTS

pytestmark = pytest.mark.e2e

Command = Callable[..., list[str]]


@pytest.fixture(scope="session")
def command() -> Command:
    python = tool_python("reference", REQUIREMENTS)
    return lambda *arguments: [str(python), "-m", "harness.stack.reference", *arguments]


def environment(database: Database, **more: str) -> dict[str, str]:
    address = database.service_address
    return {
        "PATH": os.environ["PATH"],
        "MF_METADATA_DB_HOST": address.host,
        "MF_METADATA_DB_PORT": str(address.port),
        "MF_METADATA_DB_USER": address.user,
        "MF_METADATA_DB_PSWD": address.password,
        "MF_METADATA_DB_NAME": address.name,
        "MF_METADATA_HOST": "127.0.0.1",
        **more,
    }


def answers(port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}/ping", timeout=5).ok
    except requests.ConnectionError:
        return False


def test_the_package_stands_alone():
    package = ROOT / "harness" / "stack" / "reference"
    imports = re.compile(r"^(?:from|import) (harness[\w.]*)", re.MULTILINE)
    found = {name for file in package.glob("*.py") for name in imports.findall(file.read_text())}
    assert found
    assert all(name.startswith("harness.stack.reference") for name in found)


@pytest.mark.parametrize("only", ["metadata", "migration"])
def test_each_api_can_be_served_alone(
    command: Command, database: Database, tmp_path: Path, only: str
):
    ports = {"metadata": free_port(), "migration": free_port()}
    env = environment(
        database,
        MF_METADATA_PORT=str(ports["metadata"]),
        MF_MIGRATION_PORT=str(ports["migration"]),
    )
    process = ManagedProcess(
        command("--level", "2.5", "--only", only),
        env=env,
        mark=f"tests-{os.getpid()}/{only}",
        log=tmp_path / "log",
        cwd=ROOT,
    )
    try:
        wait_until(lambda: answers(ports[only]), seconds=20, what=only, log=process.log)
        (other,) = set(ports) - {only}
        assert not answers(ports[other])
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(10) == 0
    finally:
        process.stop()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "--level"),
        (["--level", "2.4"], "invalid choice: '2.4'"),
        (["--level", "1.0", "--only", "migration"], "level 1.0 has no migration API"),
    ],
)
def test_arguments_that_make_no_sense(command: Command, arguments: list[str], says: str):
    ended = subprocess.run(
        command(*arguments), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert says in ended.stderr
    assert "Traceback" not in ended.stderr


def test_an_unknown_fault_is_an_error_at_start(command: Command, database: Database):
    ended = subprocess.run(
        command("--level", "2.5"),
        cwd=ROOT,
        env=environment(database, **{faults.VARIABLE: "lose-artefact"}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2
    assert "nearest: lose-artifact" in ended.stderr


def test_a_newer_schema_ends_the_service_when_it_is_told_so(
    command: Command, database: Database, serve
):
    newer = serve("2.5")
    newer.migrate("PATCH", "/upgrade")
    newer.running.stop()
    ended = subprocess.run(
        command("--level", "2.3"),
        cwd=ROOT,
        env=environment(database, **{faults.VARIABLE: "no-start-on-newer-schema"}),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ended.returncode == 1
    assert "schema 20230118020300 is newer than level 2.3 knows" in ended.stderr


def test_passwords_with_quotes_and_spaces_are_passed_on(command: Command, postgres, tmp_path: Path):
    database = postgres.create("quoted")
    name = 'it\'s a "user" #1'
    with database.address.connect() as connection, connection.cursor() as cursor:
        cursor.execute('CREATE ROLE "it\'s a ""user"" #1" LOGIN SUPERUSER PASSWORD \'p w\'\'"#%\'')
    connection.close()
    port = free_port()
    process = ManagedProcess(
        command("--level", "1.0"),
        env=environment(
            database,
            MF_METADATA_DB_USER=name,
            MF_METADATA_DB_PSWD="p w'\"#%",
            MF_METADATA_PORT=str(port),
        ),
        mark=f"tests-{os.getpid()}/quoted",
        log=tmp_path / "log",
        cwd=ROOT,
    )
    try:
        wait_until(lambda: answers(port), seconds=20, what="the service", log=process.log)
        assert "p w" not in process.log.read_text()
    finally:
        process.stop()
        postgres.drop("quoted")
