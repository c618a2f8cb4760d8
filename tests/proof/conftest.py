"""The tables and rows of tests/stack/database, here to be proven kept."""

from tests.stack.database.conftest import execute, first_schema, migrate

__all__ = ["execute", "first_schema", "migrate"]
