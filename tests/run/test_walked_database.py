"""The database of a walk moves to a newer PostgreSQL, or stays where it is and says why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.catalog.versions import load
from harness.core.path import moving, straight
from harness.machine.errors import EndedError, Ending, InfraError
from harness.run.walked_database import MoveError, WalkedDatabase
from harness.stack.database.dump import dump
from harness.stack.database.server import Address, Database

FROM, TO = moving(straight(load().reference[-1:]), ["16", "18"])


@dataclass
class Server:
    """A server whose databases are names, with programs that do as they are told."""

    name: str
    programs: Path
    dead: bool = False

    def create(self, name: str) -> Database:
        address = Address(self.name, 1, "me", "secret", name)
        return Database(address, address)

    def dump(self, address: Address, file: Path) -> None:
        dump(address, file, self.programs)

    def check_alive(self) -> None:
        if self.dead:
            raise EndedError("PostgreSQL", Ending(-9))


@pytest.fixture
def servers(tmp_path: Path) -> dict[str, Server]:
    majors = ("16", "18")
    for major, program in product(majors, ("pg_dump", "pg_restore")):
        path = tmp_path / major / program
        path.parent.mkdir(exist_ok=True)
        path.write_text(
            '#!/bin/sh\nfor file; do :; done\nfile=${file#--file=}\n[ "${0##*/}" = pg_restore ] ||'
            f' echo rows > "$file"\n'
            f'echo "{major} ${{0##*/}} $PGPASSWORD $*" >> {tmp_path}/said\n'
        )
        path.chmod(0o755)
    return {major: Server(major, tmp_path / major) for major in majors}


@pytest.fixture
def walked(servers: Mapping[str, Server], tmp_path: Path) -> WalkedDatabase:
    started: list[str] = []
    run: Any = SimpleNamespace(
        plan=SimpleNamespace(path=(FROM, TO)),
        options=SimpleNamespace(database_name="metaflow"),
        folder=SimpleNamespace(work=tmp_path / "work"),
    )
    by_variant = {(major, "", ""): server for major, server in servers.items()}
    backend: Any = SimpleNamespace(by_variant=by_variant, existing=None)
    stacks: Any = SimpleNamespace(start_server=lambda server: started.append(server.name))
    found = WalkedDatabase(run, backend, stacks, None)
    found.make(FROM)
    assert started == ["16"]
    return found


def says(tmp_path: Path, program: str, words: str) -> None:
    major = "16" if program == "pg_dump" else "18"
    (tmp_path / major / program).write_text(f"#!/bin/sh\necho '{words}' >&2\nexit 1\n")


def at(walked: WalkedDatabase) -> tuple[str, bool, bool]:
    return walked.there.address.host, walked.is_at(FROM), walked.is_at(TO)


def test_it_is_dumped_by_the_older_and_restored_by_the_newer(
    walked: WalkedDatabase, tmp_path: Path
) -> None:
    assert at(walked) == ("16", True, False)
    assert walked.move(TO).address.host == "18"
    assert at(walked) == ("18", False, True)
    dumped, restored = (tmp_path / "said").read_text().splitlines()
    assert dumped.startswith("16 pg_dump secret --host=16 ")
    assert restored.startswith("18 pg_restore secret --host=18 ")
    assert [path for path in (tmp_path / "work").rglob("*") if path.is_file()] == []


def test_a_walk_that_goes_on_begins_where_its_database_was(walked: WalkedDatabase) -> None:
    walked.make(TO)
    assert at(walked) == ("18", False, True)


@pytest.mark.parametrize("program", ["pg_dump", "pg_restore"])
def test_what_a_living_server_refuses_is_told_in_its_words(
    walked: WalkedDatabase, tmp_path: Path, program: str
) -> None:
    says(tmp_path, program, "ERROR: function no_such() does not exist")
    with pytest.raises(MoveError) as refused:
        walked.move(TO)
    assert str(refused.value) == (
        f"the database cannot be moved to PostgreSQL 18: {program} of the database 'metaflow':"
        " ERROR: function no_such() does not exist"
    )
    assert at(walked) == ("16", True, False)


def test_a_machine_without_room_is_to_blame_itself(walked: WalkedDatabase, tmp_path: Path) -> None:
    says(tmp_path, "pg_restore", "ERROR: could not extend file: No space left on device")
    with pytest.raises(InfraError, match="the machine: No space left on device: pg_restore"):
        walked.move(TO)
    assert at(walked) == ("16", True, False)


@pytest.mark.parametrize("dead", ["16", "18"])
def test_a_server_that_is_dead_refuses_nothing(
    walked: WalkedDatabase, servers: Mapping[str, Server], tmp_path: Path, dead: str
) -> None:
    says(tmp_path, "pg_restore", "server closed the connection unexpectedly")
    servers[dead].dead = True
    with pytest.raises(InfraError, match="PostgreSQL ended with exit code -9"):
        walked.move(TO)


def test_before_it_is_made_there_is_none(walked: WalkedDatabase) -> None:
    walked._place = None
    with pytest.raises(InfraError, match="no database yet"):
        _ = walked.there
