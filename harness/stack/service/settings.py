"""The settings of a metadata service, wherever it runs."""

from __future__ import annotations

from harness.machine.processes import HOST
from harness.stack.database.server import Address

MIGRATION_SECONDS = 600.0
"""What a migration may take, unasked."""

# From v2.2.4 on the order does not matter, because the metadata service makes no tables any more:
# https://github.com/Netflix/metaflow-service/pull/304
WRONG_ORDER = "wrong-order"
SCENARIOS = {
    WRONG_ORDER: "the metadata service is started on the empty database before it is migrated",
}
"""What can be done wrong on purpose, by the name ``--scenario`` takes."""


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
