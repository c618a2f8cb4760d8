"""TLS of a PostgreSQL of the run's own: certificates made for one run, and how it demands them.

Certificates are made by the program ``openssl``, which machines have whose PostgreSQL speaks TLS:
nothing of the harness needs one otherwise, so no package is asked for.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from psycopg2 import extensions, sql

from harness.core.told import CLIENT_CERT, REQUIRE
from harness.machine.errors import InfraError, UsageError, one_line
from harness.stack.database.server import Address, Tls

PROGRAM = "openssl"
LOCALHOST = "localhost"
"""The name that certificates are for: before 15 libpq compares no addresses with them."""

_DAYS = "365"
_SETTINGS = {
    "ssl_cert_file": "server.crt",
    "ssl_key_file": "server.key",
    "ssl_ca_file": "ca.crt",
    # Last: it is looked at with the files above.
    "ssl": "on",
}


@dataclass(frozen=True)
class Certificates:
    """The certificates of one server and of who uses it.

    Attributes:
        folder: where they lie, once they are made: ``ca``, ``server`` and ``client``.
        mode: what is asked for: one of ``harness.core.told.MODES``.
        names: beside ``localhost``, those that services reach the server by.
    """

    folder: Path
    mode: str
    names: tuple[str, ...] = ()

    @property
    def tls(self) -> Tls:
        """What is said to the harness, and to services."""
        if self.mode == REQUIRE:
            return Tls(REQUIRE)
        whole = self.folder.absolute()
        client = (str(whole / "client.crt"), str(whole / "client.key"))
        return Tls(
            "verify-full", str(whole / "ca.crt"), *(client if self.mode == CLIENT_CERT else ())
        )

    def place(self) -> dict[str, str]:
        """Return what finds them again."""
        return {"certificates": str(self.folder.absolute()), "tls": self.mode}

    @classmethod
    def at(cls, place: Mapping[str, str]) -> Certificates | None:
        """Return those that ``place`` told; None where it told none."""
        return cls(Path(place["certificates"]), place["tls"]) if "tls" in place else None

    def over(self, address: Address) -> Address:
        """Return the address of the same database, encrypted."""
        return replace(address, host=LOCALHOST, tls=self.tls)

    def encrypt(self, address: Address, *rules: str) -> Address:
        """Make the certificates; from then on the server refuses what is not encrypted.

        By SQL alone, so that it is the same for processes and containers. The server heeds it a
        moment later.

        Args:
            address: of a database, not encrypted, as a superuser.
            rules: lines of pg_hba.conf that come before that for everybody.

        Returns:
            That address, encrypted.

        Raises:
            InfraError: when openssl refuses.
            psycopg2.Error: when the server refuses.
        """
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        make_authority(self.folder, "ca")
        names = ",".join(f"DNS:{name}" for name in (LOCALHOST, *self.names))
        sign(self.folder, "server", LOCALHOST, f"subjectAltName={names}")
        sign(self.folder, "client", address.user, "extendedKeyUsage=clientAuth")
        # Nobody signs any more.
        (self.folder / "ca.key").unlink()
        asked = "cert" if self.mode == CLIENT_CERT else "scram-sha-256"
        demand(address, self.folder, "\n".join([*rules, f"hostssl all all all {asked}"]))
        return self.over(address)


def check_program(mode: str) -> None:
    """Raise UsageError when there is nothing here that makes certificates."""
    if shutil.which(PROGRAM) is None:
        raise UsageError(
            f"--database-tls {mode}: no program {PROGRAM} on PATH, which makes the certificates;"
            " install it (apt-get install openssl)"
        )


def demand(address: Address, folder: Path, rules: str) -> None:
    """Make a server speak TLS, and let in by these rules alone.

    Args:
        address: of a database, as a superuser.
        folder: with the certificates ``ca`` and ``server``.
        rules: lines of pg_hba.conf.
    """
    with closing(address.connect()) as connection, connection.cursor() as cursor:
        for name in (file for file in _SETTINGS.values() if file != "on"):
            # The server takes no key that others can read.
            _write(cursor, f"umask 077; cat > {name}", (folder / name).read_text("ascii"))
        for name, value in _SETTINGS.items():
            cursor.execute(
                sql.SQL("ALTER SYSTEM SET {} = %s").format(sql.Identifier(name)), [value]
            )
        _write(cursor, "cat > pg_hba.conf", rules)
        cursor.execute("SELECT pg_reload_conf()")


def _write(cursor: extensions.cursor, command: str, text: str) -> None:
    """Give lines to a command that the server runs in its folder of data."""
    rows = sql.SQL(",").join(sql.SQL("({})").format(sql.Literal(one)) for one in text.splitlines())
    statement = sql.SQL("COPY (VALUES {}) TO PROGRAM {}").format(rows, sql.Literal(command))
    cursor.execute(statement)


def make_authority(folder: Path, name: str) -> None:
    """Make the certificate of who signs others."""
    _openssl(folder, "req", "-x509", *_new(name), "-subj", f"/CN={name}", "-out", f"{name}.crt")


def sign(folder: Path, name: str, subject: str, extension: str) -> None:
    """Make a key and its certificate, signed by ``ca``.

    Args:
        folder: with ``ca``.
        name: of the files.
        subject: whose it is.
        extension: a line of openssl's.
    """
    whose = re.sub(r"([/+\\])", r"\\\1", subject)
    _openssl(folder, "req", "-utf8", *_new(name), "-subj", f"/CN={whose}", "-out", f"{name}.csr")
    (folder / f"{name}.ext").write_text(extension, encoding="utf-8")
    by = ["-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", f"{name}.ext"]
    _openssl(
        folder, "x509", "-req", "-in", f"{name}.csr", *by, "-days", _DAYS, "-out", f"{name}.crt"
    )
    # libpq takes no key that others can read.
    (folder / f"{name}.key").chmod(0o600)


def _new(name: str) -> Sequence[str]:
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    return [*curve, "-nodes", "-days", _DAYS, "-keyout", f"{name}.key"]


def _openssl(folder: Path, *words: str) -> None:
    finished = subprocess.run(
        [PROGRAM, *words], cwd=folder, capture_output=True, encoding="utf-8", check=False
    )
    if finished.returncode:
        raise InfraError(f"{PROGRAM} {words[0]}: {one_line(finished.stderr)}")
