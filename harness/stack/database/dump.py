"""A database as a file, and that file as a database again, by PostgreSQL's own programs.

Unasked they are those of the wheel, by TLS the system's, whatever serves the database: of a release
as old as the server, or newer. What is newer than need be sets what an older server does not know
(``transaction_timeout``).
"""

from __future__ import annotations

import os
import subprocess
from contextlib import closing
from pathlib import Path

import psycopg2
from psycopg2.extensions import make_dsn

from harness.machine.errors import InfraError, one_line
from harness.stack.database.binaries import find_binaries, majors_with_tls
from harness.stack.database.cluster import clean_environment
from harness.stack.database.server import Address
from harness.stack.database.wheel import MAJORS

_AS_ARCHIVE = ("--format=custom",)


def dump(address: Address, file: Path, programs: Path | None = None) -> None:
    """Write all of a database to a file.

    Args:
        address: the database.
        file: what is written.
        programs: a folder that may have PostgreSQL's programs; None for those that fit.

    Raises:
        InfraError: when it cannot be read or the file cannot be written, in PostgreSQL's words.
    """
    _run("pg_dump", programs, address, *_AS_ARCHIVE, f"--file={file}")


def dump_command(address: Address) -> tuple[list[str], dict[str, str]]:
    """Return the command that prints all of a database, and its variables.

    Args:
        address: the database, as seen from where the command runs.
    """
    command = ["pg_dump", *_words(address), *_AS_ARCHIVE]
    return command, {"PGPASSWORD": address.password}


def restore(file: Path, address: Address, programs: Path | None = None) -> None:
    """Make of an empty database the one that was written to a file.

    Args:
        file: as ``dump`` wrote it.
        address: the database.
        programs: as of ``dump``.

    Raises:
        InfraError: when the file is not whole or the server refuses, in PostgreSQL's words.
    """
    _run("pg_restore", programs, address, "--exit-on-error", "--no-owner", str(file))


def _major(address: Address) -> int:
    """Return the major version of the server.

    Raises:
        InfraError: when it does not answer.
    """
    try:
        with closing(address.connect()) as connection:
            return connection.server_version // 10000
    except psycopg2.OperationalError as error:
        raise InfraError(f"the database does not answer any more: {one_line(error)}") from error


def _fitting(address: Address) -> Path:
    """Return the folder of programs that fit the server best: of the wheel's, which have no TLS.

    Raises:
        InfraError: when the server wants TLS and no programs of this machine speak it.
    """
    majors = majors_with_tls() if address.tls else sorted(MAJORS, key=int)
    if not majors:
        raise InfraError("no PostgreSQL of this machine speaks TLS, as the database asks for")
    serves = _major(address)
    return find_binaries(next((one for one in majors if int(one) >= serves), majors[-1]))


def _words(address: Address) -> list[str]:
    tls = address.tls.parameters if address.tls else {}
    return [
        f"--host={address.host}",
        f"--port={address.port}",
        f"--username={address.user}",
        "--no-password",
        # A name with a "=" would be taken for more than a name.
        f"--dbname={make_dsn(dbname=address.name, **tls)}",
    ]


def _run(program: str, programs: Path | None, address: Address, *words: str) -> None:
    """Run a program on a database to its end."""
    # Not every folder that serves databases has the programs that write and read them.
    own = programs is not None and os.access(programs / program, os.X_OK)
    folder = programs if programs is not None and own else _fitting(address)
    command = [str(folder / program), *_words(address), *words]
    finished = subprocess.run(
        command,
        # Not among the words, which everybody on the machine can read.
        env={**clean_environment(), "PGPASSWORD": address.password},
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if finished.returncode:
        said = one_line(finished.stderr) or f"exit code {finished.returncode}"
        raise InfraError(f"{program} of the database {address.name!r}: {said}")
