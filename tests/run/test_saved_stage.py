"""What a stage of a walk saves comes back as it was, or it is told why not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from harness.catalog.versions import load
from harness.cli.options import parse
from harness.cli.planning import OnPython, make_plan
from harness.client.reading import WrittenRun
from harness.core.plan import Cell
from harness.machine import locks
from harness.machine.errors import InfraError
from harness.proof import fingerprint
from harness.proof.contract import Observed
from harness.run.folder import RunFolder
from harness.run.saved_stage import SavedStages, Seen, all_saved, remove_saved, saved_numbers
from harness.stack.database.embedded import EmbeddedPostgres
from harness.stack.database.server import Address, Database
from tests.stack.database.conftest import Execute, execute, first_schema, migrate

__all__ = ["execute", "first_schema", "migrate"]

OPTIONS = parse(
    "fixed_db", ["--metaflow", "2.19.39", "--service", "2.3,2.5", "--probe", "hello"], load()
)
CELLS: tuple[Cell, ...] = make_plan(OPTIONS, [OnPython(OPTIONS.clients[0], "3.11")]).cells


class Walked:
    """A walk that has some data, and what it says."""

    def __init__(self, folder: Path) -> None:
        self.said: list[str] = []
        self.folder = RunFolder(folder, "fixed_db")
        self.folder.make()
        self.data = self.folder.work / "data"
        (self.data / "local").mkdir(parents=True)
        (self.data / "local" / "artifact").write_bytes(b"\x00x")
        self.stages = SavedStages(self.folder, "", self.data, OPTIONS, self.said.append)

    def save(self, stage: int, database: Address) -> bool:
        run = WrittenRun(CELLS[0], "7", {"tags": ["é"], "steps": {}}, ("run",))
        seen = Seen([run], fingerprint.take(database), Observed("2.3", {"duplicate flow": "409"}))
        return self.stages.save(stage, database, seen)


@pytest.fixture
def walked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Walked:
    monkeypatch.setattr(locks, "RUNS", tmp_path / "runs")
    return Walked(tmp_path)


@pytest.fixture
def empty(postgres: EmbeddedPostgres) -> Iterator[Address]:
    name = f"empty_{uuid4().hex}"
    yield postgres.create(name).address
    postgres.drop(name)


@pytest.mark.usefixtures("first_schema")
def test_all_of_it_comes_back(walked: Walked, database: Database, empty: Address) -> None:
    assert walked.save(1, database.address)
    assert walked.save(2, database.address)
    assert saved_numbers(walked.folder, "") == [1, 2]
    walked.stages.forget_before(2)
    assert saved_numbers(walked.folder, "") == [2]
    walked.data.rename(walked.data.with_name("of a stage that was cut short"))
    seen = walked.stages.load(2, empty, CELLS)
    assert seen.written == [WrittenRun(CELLS[0], "7", {"tags": ["é"], "steps": {}}, ("run",))]
    assert seen.left == fingerprint.take(database.address) == fingerprint.take(empty)
    assert seen.observed == Observed("2.3", {"duplicate flow": "409"})
    assert (walked.data / "local" / "artifact").read_bytes() == b"\x00x"
    assert all_saved() == {walked.folder.run: walked.folder.saved}
    remove_saved(walked.folder.run, walked.folder.saved)
    assert all_saved() == {}
    assert walked.said == []


@pytest.mark.usefixtures("first_schema")
def test_another_database_than_the_stage_left_is_refused(
    walked: Walked, database: Database, empty: Address, execute: Execute
) -> None:
    left = fingerprint.take(database.address)
    execute("DELETE FROM artifact_v3 WHERE name = 'x'")
    assert walked.stages.save(1, database.address, Seen([], left, Observed("", {})))
    walked.data.rename(walked.data.with_name("before"))
    with pytest.raises(InfraError, match="not what stage 1 left: artifact_v3: row lost at flow_id"):
        walked.stages.load(1, empty, CELLS)


@pytest.mark.usefixtures("first_schema")
def test_a_stage_that_cannot_be_saved_is_told_and_none(walked: Walked, database: Database) -> None:
    walked.folder.saved.write_text("in the way")
    assert not walked.save(1, database.address)
    (said,) = walked.said
    assert said.startswith("stage 1 is not saved for --resume: ")
    assert saved_numbers(walked.folder, "") == []
