"""The settings of a metadata service, wherever it runs."""

from __future__ import annotations

from harness.machine.processes import HOST
from harness.stack.database.server import Address, Tls

MIGRATION_SECONDS = 600.0
"""What a migration may take, unasked."""


def database_settings(database: Address) -> dict[str, str]:
    """Return the variables that every part of a released service finds its database by.

    Releases before 2.4.4 know none about TLS.
    """
    tls = database.tls or Tls("")
    encrypted = {
        "MF_METADATA_DB_SSL_MODE": tls.mode,
        "MF_METADATA_DB_SSL_ROOT_CERT_PATH": tls.root,
        # What migrates at the start of an image, run_goose.py, knows it by this name alone.
        "MF_METADATA_DB_SSL_ROOT_CERT": tls.root,
        "MF_METADATA_DB_SSL_CERT_PATH": tls.cert,
        "MF_METADATA_DB_SSL_KEY_PATH": tls.key,
    }
    return {
        # What a killed service said last would be lost in its buffer.
        "PYTHONUNBUFFERED": "1",
        "MF_METADATA_DB_HOST": database.host,
        "MF_METADATA_DB_PORT": str(database.port),
        "MF_METADATA_DB_USER": database.user,
        "MF_METADATA_DB_PSWD": database.password,
        "MF_METADATA_DB_NAME": database.name,
        # An empty one would be taken for the name of a file.
        **{name: value for name, value in encrypted.items() if value},
    }


def service_settings(
    database: Address, metadata_port: int, migration_port: int, prefix: str = ""
) -> dict[str, str]:
    """Return the variables a released service is configured by, and the reference service too.

    Args:
        database: its own.
        metadata_port: where it listens.
        migration_port: likewise its migration service.
        prefix: the path below which it answers, of which releases before 2.4.4 know nothing.
    """
    return {
        **database_settings(database),
        "MF_METADATA_HOST": HOST,
        "MF_METADATA_PORT": str(metadata_port),
        "MF_MIGRATION_PORT": str(migration_port),
        **({"PATH_PREFIX": prefix} if prefix else {}),
    }
