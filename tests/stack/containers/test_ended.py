"""How containers end that no engine is needed for; what ends for real is in test_own.py."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from docker.errors import NotFound

from harness.catalog.versions import load
from harness.core.blame import by_itself
from harness.machine.errors import EndedError
from harness.stack.containers.own import Program, RunningContainer
from harness.stack.database.server import Address, Database
from harness.stack.service.container import ContainerLauncher


def test_one_that_somebody_removed_has_ended_by_a_hand_from_outside(tmp_path: Path):
    def gone() -> None:
        raise NotFound("No such container")

    engine: Any = SimpleNamespace(doing=lambda _: nullcontext())
    container: Any = SimpleNamespace(name="database", reload=gone)
    running = RunningContainer(engine, container, [], tmp_path / "log")
    with pytest.raises(EndedError) as told:
        running.check_alive()
    assert str(told.value) == "the container database was removed by somebody"
    assert not by_itself(told.value.ending)
    assert running.is_removed()


class _Container:
    """Stands for a service's container: one that somebody removes, say."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.removed = False
        self.restarts = 0

    def is_removed(self) -> bool:
        return self.removed

    def restart(self) -> None:
        assert not self.removed, "the engine does not know it any more"
        self.restarts += 1

    def port(self, inner: int) -> int:
        return inner + self.number


def test_a_service_whose_container_was_removed_gets_another_one(tmp_path: Path):
    made: list[_Container] = []

    def run(program: Program, log: Path) -> _Container:
        assert (program.name, log) == ("02-v2.5.0", tmp_path / "02-v2.5.0.log")
        made.append(_Container(len(made)))
        return made[-1]

    image = SimpleNamespace(reference="any:tag", code="sha256:0")
    images: Any = SimpleNamespace(use=lambda _, start: start(image))
    belongings: Any = SimpleNamespace(run=run)
    address = Address("h", 1, "u", "p", "d")
    launcher = ContainerLauncher(belongings, images, first=())
    service = next(one for one in load().released if one.name == "v2.5.0")
    database = Database(address, address)
    running = launcher.start(service, database, tmp_path / "02-v2.5.0.log")
    running.restart()
    assert ([one.restarts for one in made], running.url) == ([1], "http://127.0.0.1:8080")
    made[0].removed = True
    running.restart()
    assert ([one.restarts for one in made], running.url) == ([1, 0], "http://127.0.0.1:8081")
