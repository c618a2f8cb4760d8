"""A server of the run's own that is reached by TLS alone, with certificates made for it."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import psycopg2
import pytest

from harness.core.told import CLIENT_CERT, REQUIRE, VERIFY_FULL
from harness.machine.errors import InfraError, UsageError
from harness.stack.database import tls as tls_module
from harness.stack.database.dump import dump, restore
from harness.stack.database.embedded import EmbeddedPostgres
from harness.stack.database.server import Address, Tls
from harness.stack.database.tls import Certificates, check_program, make_authority, sign


def test_what_is_said_of_each_mode(tmp_path: Path) -> None:
    files = [str(tmp_path / name) for name in ("ca.crt", "client.crt", "client.key")]
    said = [Certificates(tmp_path, mode).tls for mode in (REQUIRE, VERIFY_FULL, CLIENT_CERT)]
    assert said == [
        Tls("require"),
        Tls("verify-full", files[0]),
        Tls("verify-full", *files),
    ]
    assert [len(one.files) for one in said] == [0, 1, 3]
    assert Tls("verify-full", "system").files == ()


def test_they_are_found_again_by_their_place(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path, CLIENT_CERT)
    assert Certificates.at({"home": "/h", **certificates.place()}) == certificates
    assert Certificates.at({"home": "/h"}) is None


def test_without_openssl_nothing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls_module, "PROGRAM", "no-such-openssl")
    with pytest.raises(UsageError, match=r"--database-tls require: no program no-such-openssl on"):
        check_program("require")


@pytest.mark.usefixtures("with_tls")
def test_what_openssl_refuses_is_told(tmp_path: Path) -> None:
    make_authority(tmp_path, "ca")
    with pytest.raises(InfraError, match=r"openssl x509: "):
        sign(tmp_path, "server", "a/b+c\\d", "nonsense=1")


@pytest.fixture(scope="module")
def server(with_tls: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """One that wants certificates, of a user whose name openssl would take for more than that."""
    folder = tmp_path_factory.mktemp("tls")
    server = EmbeddedPostgres(
        folder / "run",
        f"test-{folder.name}",
        binaries=with_tls,
        user="a/user+x=ü",
        certificates=Certificates(folder / "tls", CLIENT_CERT),
    )
    server.start()
    yield server
    server.stop()


def ask(address: Address, query: str) -> list[tuple[object, ...]]:
    with closing(address.connect()) as connection, connection.cursor() as cursor:
        cursor.execute(query)
        return list(cursor.fetchall())


ENCRYPTED = "SELECT ssl, client_dn IS NOT NULL FROM pg_stat_ssl WHERE pid = pg_backend_pid()"


@pytest.mark.e2e
def test_it_is_reached_with_certificates_alone(server: EmbeddedPostgres) -> None:
    address = server.create("metaflow").address
    assert ask(address, ENCRYPTED) == [(True, True)]
    assert server.description.endswith(", embedded, TLS client-cert")
    whole = address.tls
    assert whole is not None
    for tls, refused in (
        (Tls("disable"), "no encryption"),
        (None, "requires a valid client certificate"),
        (replace(whole, cert="", key=""), "requires a valid client certificate"),
        (replace(whole, root=whole.cert), "certificate verify failed"),
    ):
        with pytest.raises(psycopg2.OperationalError, match=refused):
            replace(address, tls=tls).connect()
    # A certificate is for a name.
    with pytest.raises(psycopg2.OperationalError, match=r'for "localhost" .*not match host'):
        replace(address, host="127.0.0.1").connect()


@pytest.mark.e2e
def test_nobody_signs_any_more_and_nobody_else_reads_a_key(server: EmbeddedPostgres) -> None:
    certificates = Certificates.at(server.place() or {})
    assert certificates is not None
    keys = {path.name: path for path in certificates.folder.glob("*.key")}
    assert sorted(keys) == ["client.key", "server.key"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in keys.values()} == {0o600}


@pytest.mark.e2e
def test_databases_are_written_to_files_and_back(server: EmbeddedPostgres, tmp_path: Path) -> None:
    address = server.create("written").address
    with closing(address.connect()) as connection:
        connection.cursor().execute("CREATE TABLE t AS SELECT 7 AS n")
    # The wheel's programs speak no TLS.
    for number, programs in enumerate((None, server.programs)):
        dump(address, tmp_path / "file", programs)
        again = server.create(f"again {number}").address
        restore(tmp_path / "file", again, programs)
        assert ask(again, "SELECT n FROM t") == [(7,)]


@pytest.mark.e2e
def test_one_that_was_killed_or_kept_is_served_again_so(
    server: EmbeddedPostgres, tmp_path: Path
) -> None:
    address = server.create("stays").address
    assert server._process is not None
    server._process.kill()
    server.revive()
    assert server.address.tls == address.tls
    assert ask(address, ENCRYPTED) == [(True, True)]
    assert server.cluster is not None
    again = EmbeddedPostgres(
        tmp_path,
        "again",
        user=address.user,
        password=address.password,
        certificates=Certificates.at(server.place() or {}),
    )
    again.resume(server.cluster)
    assert again.address == server.address
    again.stop()
