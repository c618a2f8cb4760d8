from __future__ import annotations

import os
import signal
import socket
import stat
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import psycopg2
import pytest

from harness.machine.errors import InfraError, UsageError
from harness.machine.processes import free_port, wait_until
from harness.stack.database import admin
from harness.stack.database import cluster as cluster_module
from harness.stack.database import embedded as embedded_module
from harness.stack.database.binaries import find_binaries
from harness.stack.database.cluster import Cluster, end_server
from harness.stack.database.embedded import EmbeddedPostgres, check_port
from harness.stack.database.server import Address

pytestmark = pytest.mark.e2e

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="shows what happens as root")


def ask(address: Address, query: str) -> list[tuple[object, ...]]:
    with closing(address.connect()) as connection, connection.cursor() as cursor:
        cursor.execute(query)
        rows: list[tuple[object, ...]] = cursor.fetchall()
        return rows


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(tmp_path / "run", f"test-{tmp_path.name}")
    yield server
    server.stop()


def postmaster(server: EmbeddedPostgres) -> int:
    assert server._process is not None
    return server._process.pid


def test_answers_queries_and_says_what_runs(postgres: EmbeddedPostgres) -> None:
    ((version,),) = ask(postgres.address, "SHOW server_version")
    assert postgres.description == f"PostgreSQL {version}, embedded"


def test_listens_on_this_machine_only_without_a_unix_socket(postgres: EmbeddedPostgres) -> None:
    assert ask(postgres.address, "SHOW listen_addresses") == [("127.0.0.1",)]
    assert ask(postgres.address, "SHOW unix_socket_directories") == [("",)]


def test_the_password_is_asked_for(postgres: EmbeddedPostgres) -> None:
    address = postgres.address
    wrong = Address(address.host, address.port, address.user, "wrong", address.name)
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        wrong.connect()
    assert address.password not in repr(postgres.address)


@pytest.mark.parametrize("name", ["plain", "with-dash.2.5", 'quote"d', "Capital Letters"])
def test_creates_and_drops_a_database_of_any_name(postgres: EmbeddedPostgres, name: str) -> None:
    database = postgres.create(name)
    assert ask(database.service_address, "SELECT current_database()") == [(name,)]
    postgres.drop(name)
    with pytest.raises(psycopg2.OperationalError, match="does not exist"):
        database.address.connect()


def test_an_existing_database_is_refused_by_name(postgres: EmbeddedPostgres) -> None:
    postgres.create("twice")
    with pytest.raises(InfraError, match="'twice' exists already"):
        postgres.create("twice")
    postgres.drop("twice")


@pytest.mark.parametrize("newer", [False, True], ids=["11", "13"])
def test_dropping_ends_open_connections(
    postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch, newer: bool
) -> None:
    # Before 13 no DROP ends them by itself.
    monkeypatch.setattr(admin, "_FORCE_SINCE", 0 if newer else sys.maxsize)
    database = postgres.create("in_use")
    with closing(database.address.connect()) as connection:
        postgres.drop("in_use")
        with connection.cursor() as cursor, pytest.raises(psycopg2.OperationalError):
            cursor.execute("SELECT 1")


def test_databases_are_created_side_by_side(postgres: EmbeddedPostgres) -> None:
    names = [f"side_{number}" for number in range(6)]
    threads = [threading.Thread(target=postgres.create, args=[name]) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = ask(postgres.address, "SELECT datname FROM pg_database WHERE datname LIKE 'side_%'")
    for name in names:
        postgres.drop(name)
    assert sorted(found) == [(name,) for name in names]


def test_stop_leaves_the_log_alone_and_no_process(own_server: EmbeddedPostgres) -> None:
    own_server.start()
    pid = postmaster(own_server)
    own_server.stop()
    own_server.stop()
    assert list(own_server.log.parent.iterdir()) == [own_server.log]
    assert "received fast shutdown request" in own_server.log.read_text()
    assert "database system is shut down" in own_server.log.read_text()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_listens_on_a_given_port_with_given_credentials(tmp_path: Path) -> None:
    port = free_port()
    server = EmbeddedPostgres(tmp_path, "given", port=port, user="a user", password="p#\"'@/%w d")
    server.start()
    try:
        assert server.address.port == port
        assert ask(server.address, "SELECT current_user") == [("a user",)]
        with closing(psycopg2.connect(server.address.url)) as connection:
            assert connection.info.user == "a user"
    finally:
        server.stop()


def test_a_port_in_use_is_named_before_anything_starts(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        server = EmbeddedPostgres(tmp_path / "run", "in-use", port=port)
        with pytest.raises(UsageError, match=f"port {port} cannot be used.*in use"):
            server.start()
    assert not (tmp_path / "run").exists()


def test_a_port_that_is_none_is_named() -> None:
    with pytest.raises(UsageError, match="port 70000 cannot be used"):
        check_port(70000)


def test_a_chosen_port_taken_meanwhile_is_chosen_again(
    own_server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        ports = iter([port, free_port()])
        monkeypatch.setattr(embedded_module, "free_port", lambda: next(ports))
        own_server.start()
    assert own_server.address.port != port
    assert ask(own_server.address, "SELECT 1") == [(1,)]


def test_an_early_death_shows_the_last_log_lines(
    own_server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(embedded_module._SETTINGS, "max_connections", "many")
    with pytest.raises(InfraError, match=r'(?s)exit code.*max_connections.*"many"'):
        own_server.start()
    assert list(own_server.log.parent.iterdir()) == [own_server.log]


def test_a_failing_initdb_shows_its_own_words(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / "run", "initdb", user="pg_reserved")
    with pytest.raises(InfraError, match=r"(?s)initdb.*pg_reserved"):
        server.start()
    assert list((tmp_path / "run").iterdir()) == []


def test_before_the_start_there_is_no_address(own_server: EmbeddedPostgres) -> None:
    with pytest.raises(InfraError, match="not started"):
        own_server.create("early")


def test_finds_the_binaries_from_folder_parent_or_program() -> None:
    folder = find_binaries()
    for given in (folder, folder.parent, folder / "postgres"):
        assert find_binaries(str(given)) == folder


def test_a_folder_without_binaries_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"no PostgreSQL at {tmp_path}"):
        find_binaries(str(tmp_path))


@as_root
def test_as_root_a_private_folder_is_left_for_a_temporary_one(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    server = EmbeddedPostgres(private / "run", "private")
    server.start()
    try:
        note = private / "run" / "postgres.temporary-folder"
        home = Path(note.read_text())
        assert ask(server.address, "SHOW data_directory") == [(str(home / "data"),)]
        assert stat.S_IMODE(home.stat().st_mode) == 0o700
    finally:
        server.stop()
    assert not home.exists()
    assert not note.exists()


@as_root
def test_as_root_a_folder_every_user_can_reach_holds_the_cluster() -> None:
    nobody = cluster_module.unprivileged_user()
    assert nobody is not None
    if not cluster_module._reaches(nobody, find_binaries() / "postgres", "-x"):
        pytest.skip("this checkout lies where only root can reach it")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        server = EmbeddedPostgres(Path(folder), "reachable")
        server.start()
        try:
            data = Path(folder) / "cluster" / "data"
            assert ask(server.address, "SHOW data_directory") == [(str(data),)]
        finally:
            server.stop()
        assert [entry.name for entry in Path(folder).iterdir()] == ["postgres.log"]


@as_root
def test_as_root_private_binaries_are_copied(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    copied = cluster_module._copy_installation(find_binaries(), private)
    server = EmbeddedPostgres(tmp_path / "run", "copied", binaries=str(copied))
    server.start()
    try:
        home = Path((tmp_path / "run" / "postgres.temporary-folder").read_text())
        program = Path(f"/proc/{postmaster(server)}/exe").resolve()
        assert home in program.parents
        assert ask(server.address, "SELECT 1") == [(1,)]
    finally:
        server.stop()
    assert not home.exists()


def test_a_server_that_ended_is_stopped_without_complaint(own_server: EmbeddedPostgres) -> None:
    own_server.start()
    os.kill(postmaster(own_server), signal.SIGQUIT)
    process = own_server._process
    assert process is not None
    wait_until(lambda: process.poll() is not None, seconds=10, what="the end of the server")
    own_server.stop()
    assert list(own_server.log.parent.iterdir()) == [own_server.log]


def test_a_kept_cluster_is_served_again_with_what_was_in_it(
    own_server: EmbeddedPostgres, tmp_path: Path
) -> None:
    own_server.start()
    kept = own_server.create("kept").address
    with closing(kept.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE t AS SELECT 7 AS n")
    cluster = own_server.cluster
    assert cluster is not None
    own_server.stop(keep=True)

    again = EmbeddedPostgres(
        tmp_path / "other", f"test-{tmp_path.name}/again", password=kept.password
    )
    again.resume(cluster)
    second = EmbeddedPostgres(
        tmp_path / "third", f"test-{tmp_path.name}/second", password=kept.password
    )
    second.resume(cluster)
    assert second.address == again.address
    second.stop()
    assert ask(replace(again.address, name="kept"), "SELECT n FROM t") == [(7,)]
    again.stop()
    assert cluster.data.is_dir()
    assert not end_server(cluster.data)


def test_a_kept_cluster_that_is_gone_is_said(own_server: EmbeddedPostgres, tmp_path: Path) -> None:
    cluster = Cluster(tmp_path / "nowhere", find_binaries())
    with pytest.raises(InfraError, match=r"kept database cannot be served: .*nowhere/data is gone"):
        own_server.resume(cluster)
