"""Checks on a user's own database, before a walk touches it."""

from __future__ import annotations

from collections.abc import Sequence

from harness.core.path import Step
from harness.machine.errors import UsageError
from harness.stack.database.external import ExternalPostgres
from harness.stack.database.rows import is_empty, schema_version


def check_existing(url: str, path: Sequence[Step], *, allow: bool) -> None:
    """Refuse a database that a walk could harm or could not begin with.

    Args:
        url: of ``--database-url``.
        path: the stages of the walk.
        allow: whether it may hold something (``--allow-existing``).

    Raises:
        UsageError: when it cannot be reached, its user may not create databases, it is not empty
            without leave, or has a newer schema than the first service of the walk.
    """
    server = ExternalPostgres(url)
    address = server.existing().address
    server.start()
    # Schemas are compared with fresh installs, each in a database of its own.
    server.check_may_create()
    if is_empty(address):
        return
    where = f"the database {address.name!r} at {address.host}:{address.port}"
    if not allow:
        raise UsageError(
            f"{where} is not empty: it would be migrated and get the walk's runs;"
            " name an empty one, or say --allow-existing"
        )
    found, first = schema_version(address) or 0, path[0].service
    newest = max((step.service for step in path), key=lambda service: service.schema)
    if found > newest.schema:
        raise UsageError(
            f"{where} has schema {found}, newer than any service of the walk knows"
            f" ({newest.name} brings {newest.schema})"
        )
    # Its migration service would answer 500, as an older image does on a newer schema.
    if found > first.schema:
        raise UsageError(
            f"{where} has schema {found}, newer than {first.name} brings ({first.schema});"
            " begin the walk with a newer service (--path or --service)"
        )
