from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import psycopg2
import pytest

from harness.machine.errors import InfraError, UsageError
from harness.machine.processes import free_port
from harness.stack.database.embedded import EmbeddedPostgres
from harness.stack.database.external import ExternalPostgres
from harness.stack.database.server import Address, Database, Tls
from tests.tls import CERTIFIED, Encrypted

PASSWORD = "p#\"'@/%:? é\\+&"


@pytest.fixture
def awkward(postgres: EmbeddedPostgres) -> Iterator[Address]:
    """A user whose password needs every kind of quoting, who may create databases."""
    user = f"user_{uuid.uuid4().hex}"
    with closing(postgres.address.connect()) as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE USER {user} CREATEDB PASSWORD %s", [PASSWORD])
        address = postgres.address
        yield Address(address.host, address.port, user, PASSWORD, "postgres")
        cursor.execute(f"DROP USER {user}")


def databases(postgres: EmbeddedPostgres) -> set[str]:
    with closing(postgres.address.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT datname FROM pg_database")
        return {name for (name,) in cursor}


def test_any_password_survives(awkward: Address) -> None:
    server = ExternalPostgres(awkward.url)
    server.start()
    assert server.address == awkward
    assert server.description.endswith(f" at 127.0.0.1:{awkward.port}, external")
    assert server.description.startswith("PostgreSQL 1")


def test_marks_that_need_no_encoding_may_stand_as_they_are() -> None:
    server = ExternalPostgres("postgres://ann:p#\"'!x@db.example/metadata")
    assert server.address == Address("db.example", 5432, "ann", "p#\"'!x", "metadata")


def test_the_existing_database_is_the_one_the_url_names(
    database: Database, postgres: EmbeddedPostgres
) -> None:
    assert ExternalPostgres(database.address.url).existing() == database
    bare = f"postgresql://u:p@127.0.0.1:{postgres.address.port}"
    with pytest.raises(UsageError, match="names no database"):
        ExternalPostgres(bare).existing()


def test_a_password_that_a_url_leaves_out_is_the_environment_s(
    awkward: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = replace(awkward, password="").url
    assert ":@" not in url
    with pytest.raises(UsageError, match="no password supplied"):
        ExternalPostgres(url).start()
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    server = ExternalPostgres(url)
    server.start()
    assert server.address == ExternalPostgres(awkward.url).address


def test_a_password_of_several_lines_is_refused_before_anything_is_asked(monkeypatch):
    monkeypatch.setenv("PGPASSWORD", "s3cret\nmore")
    with pytest.raises(UsageError, match=r"^PGPASSWORD: no password can hold a line break$"):
        ExternalPostgres("postgresql://u@h/d")
    # It is not looked at where the URL has one.
    assert ExternalPostgres("postgresql://u:p@h/d").address.password == "p"


@pytest.mark.parametrize("host", ["::1", "/var/run/postgresql", "db.example"])
def test_an_address_is_written_so_that_it_can_be_read(host: str) -> None:
    address = Address(host, 5433, "ann", "", "metadata")
    assert ExternalPostgres(address.url).address == address


def test_creates_and_drops_only_its_own(awkward: Address, postgres: EmbeddedPostgres) -> None:
    server = ExternalPostgres(awkward.url)
    before = databases(postgres)
    mine, other = (server.create(f"mine_{uuid.uuid4().hex}").address for _ in range(2))
    with closing(mine.connect()):
        assert databases(postgres) == before | {mine.name, other.name}
    server.drop(mine.name)
    assert databases(postgres) == before | {other.name}
    with pytest.raises(InfraError, match="was not made by this run"):
        server.drop("postgres")
    server.stop()
    server.stop()
    assert databases(postgres) == before


def test_a_user_who_may_not_create_databases_is_told(
    awkward: Address, postgres: EmbeddedPostgres
) -> None:
    with closing(postgres.address.connect()) as connection, connection.cursor() as cursor:
        cursor.execute(f"ALTER USER {awkward.user} NOCREATEDB")
    with pytest.raises(UsageError, match=r"may not create databases.*CREATEDB"):
        ExternalPostgres(awkward.url).create("never")


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("mysql://u:s3cret@h/d", "another shape"),
        ("host=h password=s3cret", "another shape"),
        ("postgresql://u:s3@cret@h:5432/d", "write @ as %40"),
        ("postgresql://u:s3/cret@h:5432/d", "write @ as %40, / as %2F"),
        ("postgresql://u:s3cret%zz@h/d", "% as %25"),
        ("postgresql://u:s3cret@h:port/d", "cannot be read"),
        ("postgresql://u:s3cret@h:1,2/d", "cannot be read"),
        ("postgresql://u:@h/d", "has an empty password: leave out the colon"),
        ("postgresql://u@h/d?password=", "has an empty password: leave out password= and it is"),
        ("postgresql://u:s3cret@h/d?password=", "has an empty password: leave out password="),
        ("postgresql://u:s3%0Acret@h/d", "no password can hold a line break"),
        ("postgresql://u:s3%00cret@h/d", "nothing in it can hold a NUL (%00)"),
        ("postgresql://u:s3cret@h/d?connect_timeout=3", "cannot pass on: connect_timeout"),
        ("postgresql://u:s3cret@h/d?sslmode=requires", "sslmode=requires is none of disable, "),
        ("postgresql://u:s3cret@h/d?sslmode=requires", "(nearest: require"),
        ("postgresql://u:s3cret@h/d?sslrootcert=/absent", "sslrootcert=/absent cannot be read: No"),
        ("postgresql://u:s3cret@h/d?sslkey=/", "sslkey=/ cannot be read: Is a directory"),
        (f"postgresql://u:s3cret@h/{'d' * 64}", "dbname: it has 64 bytes, and PostgreSQL keeps 63"),
        (f"postgresql://{'u' * 64}:s3cret@h/d", "user: it has 64 bytes, and PostgreSQL keeps 63"),
        ("postgresql://h:5432/d", "names no user"),
        ("postgresql:///d", "names no user and no host"),
        ("postgresql://u:s3cret@/d", "names no host"),
    ],
)
def test_a_url_that_cannot_be_used_is_told_without_its_password(url: str, complaint: str) -> None:
    with pytest.raises(UsageError) as caught:
        ExternalPostgres(url)
    message = str(caught.value)
    assert complaint in message
    assert "s3" not in message
    assert "cret" not in message


def test_an_unreachable_server_is_named_by_host_and_port() -> None:
    port = free_port()
    server = ExternalPostgres(f"postgresql://ann:s3cret@127.0.0.1:{port}/d")
    with pytest.raises(UsageError, match=f"'d' at 127.0.0.1:{port} cannot be reached") as caught:
        server.start()
    assert "s3cret" not in str(caught.value)


def test_a_wrong_password_is_not_repeated(awkward: Address) -> None:
    url = awkward.url.replace(quote(PASSWORD, safe=""), "wr0ng")
    with pytest.raises(UsageError, match="password authentication failed") as caught:
        ExternalPostgres(url).start()
    assert "wr0ng" not in str(caught.value)


def test_the_address_of_an_embedded_server_is_a_url_like_any_other(
    postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    server = ExternalPostgres(postgres.address.url)
    server.start()
    assert server.address == postgres.address
    with closing(psycopg2.connect(postgres.address.url)) as connection:
        assert connection.info.dbname == "postgres"
    assert list(tmp_path.iterdir()) == []


def test_what_a_url_says_of_tls_is_read_and_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("ca #1.crt", "client.crt", "client.key"):
        (tmp_path / name).touch()
    url = "postgresql://ann:p@db.example/metadata?sslmode=verify-full&sslrootcert=ca%20%231.crt"
    address = ExternalPostgres(f"{url}&sslcert=client.crt&sslkey=client.key").address
    # Services run in folders of their own.
    files = [str(tmp_path / name) for name in ("ca #1.crt", "client.crt", "client.key")]
    assert address.tls == Tls("verify-full", *files)
    assert ExternalPostgres(address.url).address == address
    plain = ExternalPostgres("postgresql://ann:p@db.example/metadata").address
    assert plain.tls is None
    system = ExternalPostgres(f"{plain.url}?sslmode=verify-full&sslrootcert=system").address
    assert system.tls == Tls("verify-full", "system")


MODES = [
    ({"mode": "require", "root": ""}, ""),
    ({"mode": "verify-full"}, ""),
    ({"mode": "verify-full", "user": CERTIFIED, "cert": "client"}, ""),
    ({"mode": "disable", "root": ""}, "no encryption"),
    ({"mode": "verify-full", "root": "other"}, "certificate verify failed"),
    ({"mode": "verify-full", "root": "broken"}, "could not read root certificate file"),
    ({"mode": "require", "user": CERTIFIED, "root": ""}, "requires a valid client certificate"),
]


@pytest.mark.e2e
@pytest.mark.parametrize(("asked", "refused"), MODES)
def test_a_server_is_reached_as_the_url_says(
    encrypted: Encrypted, asked: dict[str, str], refused: str
) -> None:
    server = ExternalPostgres(encrypted.url(**asked))
    if refused:
        with pytest.raises(UsageError, match=refused) as told:
            server.start()
        assert "\n" not in str(told.value)
        return
    server.start()
    query = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
    with closing(server.address.connect()) as connection, connection.cursor() as cursor:
        cursor.execute(query)
        assert cursor.fetchall() == [(True,)]
    server.stop()
