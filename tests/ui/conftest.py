"""Runs of a real client over the reference service, and stand-in UI backends over their rows."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
import requests

from harness.catalog.versions import load
from harness.client.program import Surroundings
from harness.core.probes import FLOWS
from harness.machine.processes import ManagedProcess, free_port, wait_until
from harness.machine.tools import tool_python
from harness.proof.ui.sample import sample
from harness.proof.ui.sample_run import SampleRun
from harness.stack.database.embedded import EmbeddedPostgres
from harness.stack.database.server import Address, Database
from harness.stack.service.migration import bring_up
from harness.stack.service.reference import ReferenceLauncher
from harness.stack.store.datastore import LocalDatastore

CLIENT = "2.19.39"
PROBES = ("card", "failing")
STANDIN = Path(__file__).with_name("standin_backend.py")
ASSETS = Path(__file__).with_name("assets")


@dataclass(frozen=True)
class Written:
    """A database with one run of each of PROBES, and what was drawn from it."""

    database: Database
    runs: dict[str, SampleRun]


@pytest.fixture(scope="session")
def migrated(
    postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Database, str]]:
    """A database with the newest schema, and the address of the reference service over it."""
    mark = f"tests-{os.getpid()}-ui"
    service = next(one for one in load().reference if one.name == "reference-2.5")
    database = postgres.create(f"test_{uuid4().hex}")
    log = tmp_path_factory.mktemp("service") / "service.log"
    running = ReferenceLauncher(mark).start(service, database, log)
    bring_up(running)
    yield database, running.url
    running.stop()
    postgres.drop(database.address.name)


@pytest.fixture(scope="session")
def written(migrated: tuple[Database, str], tmp_path_factory: pytest.TempPathFactory) -> Written:
    """The runs of a real client, one that ends well and has a card, and one that fails."""
    database, url = migrated
    work = tmp_path_factory.mktemp("client")
    client = next(one for one in load().clients if one.name == CLIENT)
    around = Surroundings(
        python=tool_python("by-hand", [f"metaflow=={CLIENT}"]),
        work=work,
        logs=work / "logs",
        datastore=LocalDatastore().environment(client, "tests", work / "data"),
        mark=f"tests-{os.getpid()}-ui-client",
        timeout=120,
        service_url=url,
    )
    around.make_folders()
    for probe in PROBES:
        finished = subprocess.run(
            [
                *(str(around.python), str(FLOWS / f"{probe}.py"), "run"),
                *("--tag", "service_version:reference-2.5"),
            ],
            env=around.environment(),
            cwd=around.cwd,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert (finished.returncode == 0) == (probe != "failing"), finished.stderr
    return Written(database, {run.probe: run for run in sample(database.address)})


@pytest.fixture(scope="session")
def standin_clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in the layout of a clone, with the stand-in and its page."""
    folder = tmp_path_factory.mktemp("standin")
    package = folder / "services" / "ui_backend_service"
    package.mkdir(parents=True)
    for parent in (package, package.parent):
        (parent / "__init__.py").touch()
    (package / "ui_server.py").write_bytes(STANDIN.read_bytes())
    (package / "ui").symlink_to(ASSETS, target_is_directory=True)
    return folder


def standin_process(
    clone: Path, address: Address, port: int, log: Path, **more: str
) -> ManagedProcess:
    """Start a stand-in over a database, at a port, with variables of its own."""
    return ManagedProcess(
        [sys.executable, "-m", "services.ui_backend_service.ui_server"],
        env={
            "PATH": os.defpath,
            "MF_METADATA_DB_HOST": address.host,
            "MF_METADATA_DB_PORT": str(address.port),
            "MF_METADATA_DB_USER": address.user,
            "MF_METADATA_DB_PSWD": address.password,
            "MF_METADATA_DB_NAME": address.name,
            "MF_UI_METADATA_HOST": "127.0.0.1",
            "MF_UI_METADATA_PORT": str(port),
            **more,
        },
        mark=f"tests-{os.getpid()}-standin-{port}",
        log=log,
        cwd=clone,
    )


@pytest.fixture(scope="session")
def standin(standin_clone: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., object]:
    """Start a stand-in over a database, with a fault; gives its address and its process."""

    @contextmanager
    def start(address: Address, fault: str = "") -> Iterator[tuple[str, ManagedProcess]]:
        port = free_port()
        log = tmp_path_factory.mktemp("standin-log") / "ui.log"
        process = standin_process(standin_clone, address, port, log, STANDIN_FAULT=fault)
        url = f"http://127.0.0.1:{port}"

        def answers() -> bool:
            process.check_alive("the stand-in")
            try:
                return requests.get(f"{url}/ping", timeout=5).ok
            except requests.ConnectionError:
                return False

        try:
            wait_until(answers, seconds=30, what="the stand-in", log=process.log)
            yield url, process
        finally:
            process.kill()

    return start


@pytest.fixture
def assets(tmp_path: Path) -> Path:
    """A folder that looks like a built page."""
    folder = tmp_path / "assets"
    (folder / "static").mkdir(parents=True)
    (folder / "index.html").write_text("<html><head></head></html>", encoding="utf-8")
    (folder / "static" / "app.js").write_text("1;", encoding="utf-8")
    return folder


@pytest.fixture
def zipped(assets: Path, tmp_path: Path) -> Path:
    """The same as a zip."""
    path = tmp_path / "metaflow-ui-v0.0.0.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in assets.rglob("*"):
            archive.write(file, file.relative_to(assets))
    return path
