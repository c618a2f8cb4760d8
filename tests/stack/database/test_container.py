"""PostgreSQL in a container, behind the same interface as the other kinds."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import psycopg2
import pytest

from harness.catalog.versions import load
from harness.core.told import CLIENT_CERT
from harness.machine.errors import EndedError, InfraError
from harness.machine.processes import free_port
from harness.stack.containers.engine import Engine
from harness.stack.containers.images import Images
from harness.stack.containers.own import Belongings, find
from harness.stack.database import container as container_module
from harness.stack.database.container import ContainerPostgres
from harness.stack.database.server import Tls
from harness.stack.database.tls import Certificates

pytestmark = pytest.mark.docker
NAME = f"postgres:{load().postgres.default}"


@pytest.fixture
def belongings(engine: Engine) -> Iterator[Belongings]:
    run = Belongings(engine, f"test-{uuid4().hex[:8]}")
    yield run
    run.remove_all()


@pytest.fixture
def server(
    belongings: Belongings, engine: Engine, registry: str, tmp_path: Path
) -> Callable[..., ContainerPostgres]:
    images = Images(engine, "missing", registry, print)

    def server(image: str = NAME, **more: object) -> ContainerPostgres:
        return ContainerPostgres(belongings, images, image, tmp_path / "postgres.log", **more)

    return server


def test_databases_come_and_go_and_services_reach_them_by_name(
    server: Callable[..., ContainerPostgres], belongings: Belongings, engine: Engine
) -> None:
    password = "quote' and \"# and ü"
    postgres = server(user="someone", password=password)
    postgres.start()
    database = postgres.create("metaflow")

    with closing(database.address.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT current_user, current_database(), current_setting('fsync')")
        assert cursor.fetchone() == ("someone", "metaflow", "off")
    inside = database.service_address
    assert (inside.host, inside.port, inside.name) == ("database", 5432, "metaflow")
    assert inside.password == password
    assert postgres.description.startswith("PostgreSQL 15.")
    with pytest.raises(InfraError, match="'metaflow'"):
        postgres.create("metaflow")
    postgres.drop("metaflow")
    postgres.create("metaflow")
    postgres.stop()
    postgres.stop()
    assert find(engine, belongings.run_id).containers == []
    assert find(engine, belongings.run_id).volumes == []


def test_it_is_reached_by_tls_alone(
    server: Callable[..., ContainerPostgres], tmp_path: Path
) -> None:
    certificates = Certificates(tmp_path / "tls", CLIENT_CERT, ("database",))
    postgres = server(certificates=certificates)
    postgres.start()
    database = postgres.create("metaflow")
    postgres.revive()

    with closing(database.address.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
        assert cursor.fetchone() == (True,)
    with pytest.raises(psycopg2.OperationalError, match="no encryption"):
        replace(database.address, tls=Tls("disable")).connect()
    with pytest.raises(psycopg2.OperationalError, match="valid client certificate"):
        replace(database.address, tls=Tls("require")).connect()
    inside = database.service_address
    assert (inside.host, inside.tls) == ("database", database.address.tls)
    postgres.dump(database.address, tmp_path / "file")
    assert (tmp_path / "file").stat().st_size
    postgres.stop()


def test_the_port_can_be_chosen(server: Callable[..., ContainerPostgres]) -> None:
    port = free_port()
    postgres = server(port=port)
    postgres.start()
    assert postgres.address.port == port


def test_one_that_was_killed_is_started_again_on_its_data_and_at_its_address(
    server: Callable[..., ContainerPostgres], belongings: Belongings, engine: Engine
) -> None:
    postgres = server()
    postgres.start()
    database = postgres.create("metaflow").address
    with closing(database.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE t AS SELECT 7 AS n")
    (container,) = find(engine, belongings.run_id).containers
    container.kill()
    with pytest.raises(EndedError, match="SIGKILL"):
        postgres.check_alive()
    postgres.revive()
    with closing(database.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT n FROM t")
        assert cursor.fetchone() == (7,)
    container.remove(force=True)
    with pytest.raises(InfraError, match="was removed by somebody, and all data with it"):
        postgres.revive()
    postgres.stop()


def test_a_chosen_port_that_was_taken_meanwhile_is_chosen_again(
    server: Callable[..., ContainerPostgres], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        chosen = [taken.getsockname()[1], free_port()]
        monkeypatch.setattr(container_module, "free_port", lambda: chosen.pop(0))
        postgres = server()
        postgres.start()
    assert chosen == []
    postgres.address.connect().close()


def test_a_port_that_is_taken_is_told_with_what_to_do(
    server: Callable[..., ContainerPostgres], belongings: Belongings, engine: Engine
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InfraError, match=f"127.0.0.1:{port}") as raised:
            server(port=port).start()
    assert "leave out --database-port and a free one is chosen" in str(raised.value)
    assert find(engine, belongings.run_id).containers == []
    assert find(engine, belongings.run_id).volumes == []


def test_an_image_that_is_no_database_is_told_with_its_log(
    server: Callable[..., ContainerPostgres], belongings: Belongings, engine: Engine
) -> None:
    # A metadata service ends at once with these arguments.
    postgres = server("netflixoss/metaflow_metadata_service:v2.5.0")
    with pytest.raises(InfraError, match=r"(?s)starting the container .*postgres.* not found"):
        postgres.start()
    assert find(engine, belongings.run_id).containers == []


def test_without_its_image_nothing_is_started(
    server: Callable[..., ContainerPostgres], belongings: Belongings, engine: Engine
) -> None:
    with pytest.raises(InfraError, match="no such tag"):
        server("postgres:0").start()
    assert list(find(engine, belongings.run_id)) == []
