"""The settings of a metadata service, wherever it runs."""

from __future__ import annotations

from harness.machine.processes import HOST
from harness.stack.database.server import Address

MIGRATION_SECONDS = 600.0
"""What a migration may take, unasked."""


def database_settings(database: Address) -> dict[str, str]:
    """Return the variables that every part of a released service finds its database by."""
    return {
        # What a killed service said last would be lost in its buffer.
        "PYTHONUNBUFFERED": "1",
        "MF_METADATA_DB_HOST": database.host,
        "MF_METADATA_DB_PORT": str(database.port),
        "MF_METADATA_DB_USER": database.user,
        "MF_METADATA_DB_PSWD": database.password,
        "MF_METADATA_DB_NAME": database.name,
    }


def service_settings(database: Address, metadata_port: int, migration_port: int) -> dict[str, str]:
    """Return the variables a released service is configured by, and the reference service too."""
    return {
        **database_settings(database),
        "MF_METADATA_HOST": HOST,
        "MF_METADATA_PORT": str(metadata_port),
        "MF_MIGRATION_PORT": str(migration_port),
    }
