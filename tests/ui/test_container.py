"""What is asked of an engine for a UI in a container, without one."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.catalog.versions import load
from harness.stack.containers.images import Image
from harness.stack.containers.own import Program
from harness.stack.database.server import Address, Database
from harness.ui.container import ContainerUI
from harness.ui.source import GivenDatabase

VERSION = load().released[-1]
ADDRESS = Address("127.0.0.1", 5432, "u", "p", "metaflow")


@dataclass
class FakeBelongings:
    """Runs nothing, and keeps what it was asked for."""

    asked: list[Program] = field(default_factory=list)

    def run(self, program: Program, log: Path) -> Any:  # noqa: ARG002 - nothing is written
        self.asked.append(program)
        return SimpleNamespace(name="metaflow-compat-a-run-ui")


@pytest.fixture
def belongings() -> FakeBelongings:
    return FakeBelongings()


@pytest.fixture
def launcher(belongings: FakeBelongings) -> ContainerUI:
    images: Any = SimpleNamespace(get=lambda name: Image(name, "id", "digest", pulled=False))
    fake: Any = belongings
    return ContainerUI(fake, images, builder=None, page=None, whole=False, triggers=False)


def test_files_that_aws_variables_name_are_mounted_to_be_read(launcher, belongings, tmp_path):
    data = tmp_path / "data"
    (tmp_path / ".aws").mkdir()
    data.mkdir()
    files = (tmp_path / ".aws" / "credentials", tmp_path / "bundle.pem")
    for file in files:
        file.touch()
    environ = {
        "HOME": str(tmp_path),
        "AWS_PROFILE": "mine",
        "AWS_CA_BUNDLE": str(files[1]),
        "METAFLOW_DATASTORE_SYSROOT_LOCAL": str(data),
    }
    source = GivenDatabase(ADDRESS.url, environ)
    running = launcher.start(VERSION, source, Database(ADDRESS, ADDRESS), 8083, tmp_path / "ui.log")
    (program,) = belongings.asked
    assert program.folders == dict.fromkeys((data, *files), True)
    assert program.environment["AWS_SHARED_CREDENTIALS_FILE"] == str(files[0])
    assert program.environment["AWS_PROFILE"] == "mine"
    assert running.where_log == "its log: docker logs metaflow-compat-a-run-ui"
