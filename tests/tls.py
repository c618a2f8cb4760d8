"""A PostgreSQL that takes encrypted connections alone, with certificates made for it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from harness.stack.database.binaries import system_majors
from harness.stack.database.cluster import unprivileged_user
from harness.stack.database.embedded import EmbeddedPostgres
from harness.stack.database.server import Address, Tls

CERTIFIED = "certified"
"""A user who must show a certificate."""

_HBA = f"""
hostssl all {CERTIFIED} all scram-sha-256 clientcert=verify-full
hostssl all all all scram-sha-256
"""
_SETTINGS = {
    "ssl_cert_file": "server.crt",
    "ssl_key_file": "server.key",
    "ssl_ca_file": "ca.crt",
    "ssl": "on",
}


def with_tls() -> str:
    """Return the newest of the system's majors that speaks TLS; empty for none."""
    found = [
        major
        for major, folder in system_majors().items()
        if b"libssl" in (folder / "postgres").read_bytes()
    ]
    return found[-1] if found else ""


@dataclass(frozen=True)
class Encrypted:
    """The server.

    Attributes:
        address: of its database ``postgres``, by a name that its certificate is for, without TLS.
        files: the folder of the certificates: ``ca``, ``other`` and ``client``, with ``.crt``.
    """

    address: Address
    files: Path

    def url(self, mode: str, *, root: str = "ca", user: str = "", cert: str = "") -> str:
        """Return the URL that asks for a mode, for a user who shows a certificate or none."""
        files = [str(self.files / f"{root}.crt") if root else ""]
        files += [str(self.files / f"{cert}.{end}") if cert else "" for end in ("crt", "key")]
        address = replace(self.address, user=user or self.address.user, tls=Tls(mode, *files))
        return address.url


@contextmanager
def serve(folder: Path) -> Iterator[Encrypted]:
    """Yield a server that refuses what is not encrypted; certificates are made in a folder."""
    _authority(folder, "ca")
    _authority(folder, "other")
    _signed(folder, "server", "localhost", "subjectAltName=DNS:localhost")
    _signed(folder, "client", CERTIFIED, "extendedKeyUsage=clientAuth")
    server = EmbeddedPostgres(folder / "server", f"tests-tls-{os.getpid()}", binaries=with_tls())
    server.start()
    try:
        _encrypt(server, folder)
        yield Encrypted(replace(server.address, host="localhost"), folder)
    finally:
        server.stop()


def _encrypt(server: EmbeddedPostgres, folder: Path) -> None:
    assert server.cluster is not None
    data = server.cluster.data
    for name in ("server.crt", "server.key", "ca.crt"):
        copy = data / name
        copy.write_bytes((folder / name).read_bytes())
        copy.chmod(0o600)
        if (user := unprivileged_user()) is not None:
            os.chown(copy, user, user)
    with closing(server.address.connect()) as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE USER {CERTIFIED} CREATEDB PASSWORD %s", [server.address.password])
        for name, value in _SETTINGS.items():
            cursor.execute(f"ALTER SYSTEM SET {name} = '{value}'")
        (data / "pg_hba.conf").write_text(_HBA, encoding="utf-8")
        cursor.execute("SELECT pg_reload_conf()")


def _authority(folder: Path, name: str) -> None:
    _openssl(folder, "req", "-x509", *_new(name), "-subj", f"/CN={name}", "-out", f"{name}.crt")


def _signed(folder: Path, name: str, subject: str, extension: str) -> None:
    _openssl(folder, "req", *_new(name), "-subj", f"/CN={subject}", "-out", f"{name}.csr")
    (folder / f"{name}.ext").write_text(extension, encoding="utf-8")
    by = ["-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", f"{name}.ext"]
    _openssl(folder, "x509", "-req", "-in", f"{name}.csr", *by, "-out", f"{name}.crt")
    # libpq takes no key that others can read.
    (folder / f"{name}.key").chmod(0o600)


def _new(name: str) -> list[str]:
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    return [*curve, "-nodes", "-keyout", f"{name}.key"]


def _openssl(folder: Path, *words: str) -> None:
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)
