"""The schema of a database as the server itself describes it, to hold two against each other."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass

from harness.stack.database.server import Address

_BOOKKEEPING = "goose_db_version"
"""goose's own table: its shape is goose's choice, not the service's."""

# Each query yields (name of the object, its definition). Definitions come from the server's own
# pg_get_*def functions, which spell names out and hold no OIDs. Columns are told apart by name
# alone: a migration can only append one where a fresh install puts it in the middle, and neither
# the services nor SQL by column name see the difference.
_COLUMNS = """
    SELECT format('column %%s.%%s', c.relname, a.attname),
        concat_ws(', ', format_type(a.atttypid, a.atttypmod),
            CASE WHEN a.attnotnull THEN 'not null' ELSE 'nullable' END,
            CASE a.attidentity WHEN 'a' THEN 'identity always'
                WHEN 'd' THEN 'identity by default' END,
            -- as JSON, for PostgreSQL 11 has no such column
            CASE WHEN d.adbin IS NULL THEN NULL
                WHEN coalesce(to_jsonb(a) ->> 'attgenerated', '') = '' THEN 'default '
                ELSE 'generated as ' END || pg_get_expr(d.adbin, d.adrelid))
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
    LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
    AND a.attnum > 0 AND NOT a.attisdropped AND c.relname <> %s
"""
_CONSTRAINTS = """
    SELECT format('%%s %%s on %%s', CASE o.contype WHEN 'p' THEN 'primary key'
            WHEN 'u' THEN 'unique key' WHEN 'f' THEN 'foreign key'
            WHEN 'c' THEN 'check' ELSE 'constraint' END, o.conname, c.relname),
        pg_get_constraintdef(o.oid)
    FROM pg_constraint o JOIN pg_class c ON c.oid = o.conrelid
    WHERE c.relnamespace = 'public'::regnamespace AND c.relname <> %s
    -- 18 lists NOT NULL here too, under names of its own; the column says it already
    AND o.contype IN ('p', 'u', 'f', 'c', 'x')
"""
_INDEXES = """
    SELECT format('index %%s on %%s', i.relname, c.relname),
        pg_get_indexdef(x.indexrelid)
            || CASE WHEN x.indisvalid AND x.indisready THEN '' ELSE ' (invalid)' END
    FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class c ON c.oid = x.indrelid
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
    AND c.relname <> %s
    -- the index below a key is told with the key, unless it is broken
    AND (NOT (x.indisvalid AND x.indisready) OR NOT EXISTS (
        SELECT FROM pg_constraint o WHERE o.conindid = x.indexrelid AND o.conrelid = c.oid))
"""
_TRIGGERS = """
    SELECT format('trigger %%s on %%s', t.tgname, c.relname),
        pg_get_triggerdef(t.oid) || CASE t.tgenabled WHEN 'D' THEN ' (disabled)' ELSE '' END
    FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
    WHERE c.relnamespace = 'public'::regnamespace AND NOT t.tgisinternal AND c.relname <> %s
"""
_TRIGGER_FUNCTIONS = """
    SELECT DISTINCT 'function ' || t.tgfoid::regprocedure, pg_get_functiondef(t.tgfoid)
    FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
    WHERE c.relnamespace = 'public'::regnamespace AND NOT t.tgisinternal AND c.relname <> %s
"""
_TABLES = """
    SELECT 'table ' || relname, 'a table' FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND relname <> %s
"""
_QUERIES = (_TABLES, _COLUMNS, _CONSTRAINTS, _INDEXES, _TRIGGERS, _TRIGGER_FUNCTIONS)

_INVALID_INDEXES = """
    SELECT i.relname FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
    WHERE i.relnamespace = 'public'::regnamespace AND NOT (x.indisvalid AND x.indisready)
    ORDER BY i.relname
"""


@dataclass(frozen=True)
class SchemaDescription:
    """The public tables of a database and all that hangs on them, without their rows.

    Attributes:
        objects: name to definition: ``column runs_v3.run_id`` to ``character varying(255),
            nullable``; likewise tables, keys, indexes, triggers and the triggers' functions.
    """

    objects: Mapping[str, str]

    def named_as(self, names: Mapping[str, str]) -> SchemaDescription:
        """Return the description with other names for some objects."""
        return SchemaDescription({names.get(one, one): text for one, text in self.objects.items()})

    def without(self, names: Collection[str]) -> SchemaDescription:
        """Return the description with some objects left out."""
        kept = {name: text for name, text in self.objects.items() if name not in names}
        return SchemaDescription(kept)


def describe(address: Address) -> SchemaDescription:
    """Describe the public tables of a database; goose's own table is left out."""
    objects: dict[str, str] = {}
    with closing(address.connect()) as connection, connection.cursor() as cursor:
        for query in _QUERIES:
            cursor.execute(query, [_BOOKKEEPING])
            # Names begin with the kind of thing, so no query overwrites what another found.
            objects.update(cursor.fetchall())
    return SchemaDescription(objects)


def renamed(there: SchemaDescription, fresh: SchemaDescription) -> dict[str, str]:
    """Return the foreign keys that are equal but for their names: by that name the fresh one.

    One that nobody names gets its name from PostgreSQL: since 12 after all of its columns, before
    after the first. A database that comes from there keeps it, and no service knows it.
    """
    missing = {key: name for key, name in _foreign_keys(fresh) if name not in there.objects}
    return {
        name: missing[key]
        for key, name in _foreign_keys(there)
        if name not in fresh.objects and key in missing
    }


def _foreign_keys(schema: SchemaDescription) -> Iterator[tuple[tuple[str, str], str]]:
    """Yield table and definition of each foreign key, and its name."""
    for name, text in schema.objects.items():
        if name.startswith("foreign key "):
            yield (name.rpartition(" on ")[2], text), name


def differences(migrated: SchemaDescription, fresh: SchemaDescription) -> list[str]:
    """Name each difference in a sentence; none means the schemas are equal.

    Args:
        migrated: of the database that was walked up to a release.
        fresh: of a new database made by the same release.
    """
    found = []
    for name in sorted(migrated.objects.keys() | fresh.objects.keys()):
        here, there = migrated.objects.get(name), fresh.objects.get(name)
        if here is None:
            found.append(f"{name} is missing; a fresh install has: {there}")
        elif there is None:
            found.append(f"{name} is not in a fresh install: {here}")
        elif here != there:
            found.append(f"{name} is: {here}; in a fresh install it is: {there}")
    return found


def invalid_indexes(address: Address) -> list[str]:
    """Name the indexes PostgreSQL does not use, as an interrupted CONCURRENTLY leaves them."""
    with closing(address.connect()) as connection, connection.cursor() as cursor:
        cursor.execute(_INVALID_INDEXES)
        return [name for (name,) in cursor]
