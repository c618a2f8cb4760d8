"""A PostgreSQL that takes encrypted connections alone, with certificates made for it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from harness.stack.database.binaries import majors_with_tls
from harness.stack.database.embedded import EmbeddedPostgres
from harness.stack.database.server import Address, Tls
from harness.stack.database.tls import LOCALHOST, demand, make_authority, sign

CERTIFIED = "certified"
"""A user who must show a certificate."""

_RULES = f"""\
hostssl all {CERTIFIED} all scram-sha-256 clientcert=verify-full
hostssl all all all scram-sha-256"""


@dataclass(frozen=True)
class Encrypted:
    """The server.

    Attributes:
        address: of its database ``postgres``, by a name that its certificate is for, without TLS.
        files: the folder of the certificates: ``ca``, ``other`` and ``client``, with ``.crt``; and
            ``broken``, which is none.
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
    make_authority(folder, "ca")
    make_authority(folder, "other")
    (folder / "broken.crt").write_text("no certificate", encoding="utf-8")
    sign(folder, "server", LOCALHOST, f"subjectAltName=DNS:{LOCALHOST}")
    sign(folder, "client", CERTIFIED, "extendedKeyUsage=clientAuth")
    major = majors_with_tls()[-1]
    server = EmbeddedPostgres(folder / "server", f"tests-tls-{os.getpid()}", binaries=major)
    server.start()
    try:
        address = server.address
        with closing(address.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(f"CREATE USER {CERTIFIED} CREATEDB PASSWORD %s", [address.password])
        demand(address, folder, _RULES)
        yield Encrypted(replace(address, host=LOCALHOST), folder)
    finally:
        server.stop()
