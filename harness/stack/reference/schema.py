"""The tables and the migrations that change them, as data: names, types, keys and indexes.

The result of each migration equals that of the released one with the same version, so that a
database written here can be handed to a released service and back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from harness.stack.reference.levels import Level

FLOWS = "flows_v3"
RUNS = "runs_v3"
STEPS = "steps_v3"
TASKS = "tasks_v3"
METADATA = "metadata_v3"
ARTIFACTS = "artifact_v3"

_NAME = "varchar(255)"
_NAME_REQUIRED = "varchar(255) NOT NULL"
_NUMBER_REQUIRED = "bigint NOT NULL"

_FLOW_ID = {"flow_id": _NAME_REQUIRED}
_IN_STEP = {**_FLOW_ID, "run_number": _NUMBER_REQUIRED, "step_name": _NAME_REQUIRED}
_IN_TASK = {**_IN_STEP, "task_id": _NUMBER_REQUIRED}
_TAGGED = {"tags": "jsonb", "system_tags": "jsonb"}
_WRITTEN_BY = {"user_name": _NAME, "ts_epoch": _NUMBER_REQUIRED, **_TAGGED}

_FIRST_COLUMNS: Mapping[str, Mapping[str, str]] = {
    FLOWS: {**_FLOW_ID, **_WRITTEN_BY},
    RUNS: {**_FLOW_ID, "run_number": "serial NOT NULL", **_WRITTEN_BY},
    STEPS: {**_IN_STEP, **_WRITTEN_BY},
    TASKS: {**_IN_STEP, "task_id": "bigserial", **_WRITTEN_BY},
    METADATA: {
        **_IN_TASK,
        "id": "bigserial NOT NULL",
        "field_name": _NAME_REQUIRED,
        "value": "text NOT NULL",
        "type": _NAME_REQUIRED,
        **_WRITTEN_BY,
    },
    ARTIFACTS: {
        **_IN_TASK,
        "name": _NAME_REQUIRED,
        "location": _NAME_REQUIRED,
        "ds_type": _NAME_REQUIRED,
        "sha": _NAME,
        "type": _NAME,
        "content_type": _NAME,
        "user_name": _NAME,
        "attempt_id": "smallint NOT NULL",
        "ts_epoch": _NUMBER_REQUIRED,
        **_TAGGED,
    },
}

_FIRST_KEYS: Mapping[str, tuple[str, ...]] = {
    FLOWS: ("PRIMARY KEY (flow_id)",),
    RUNS: ("PRIMARY KEY (flow_id, run_number)", f"FOREIGN KEY (flow_id) REFERENCES {FLOWS}"),
    STEPS: (
        "PRIMARY KEY (flow_id, run_number, step_name)",
        f"FOREIGN KEY (flow_id, run_number) REFERENCES {RUNS}",
    ),
    TASKS: (
        "PRIMARY KEY (task_id)",
        f"FOREIGN KEY (flow_id, run_number, step_name) REFERENCES {STEPS}",
    ),
    METADATA: ("PRIMARY KEY (flow_id, run_number, step_name, task_id, field_name)",),
    ARTIFACTS: ("PRIMARY KEY (flow_id, run_number, step_name, task_id, attempt_id, name)",),
}

_STRING_ID_COLUMNS: Mapping[str, tuple[str, ...]] = {
    FLOWS: (),
    RUNS: ("run_id",),
    STEPS: ("run_id",),
    TASKS: ("run_id", "task_name"),
    METADATA: ("run_id", "task_name"),
    ARTIFACTS: ("run_id", "task_name"),
}


def columns(table: str, level: Level) -> tuple[str, ...]:
    """Return the columns of a table that a level reads and shows."""
    known = tuple(_FIRST_COLUMNS[table])
    if level.has_string_ids:
        known += _STRING_ID_COLUMNS[table]
    if level.has_heartbeat and table in (RUNS, TASKS):
        known += ("last_heartbeat_ts",)
    return known


def create_tables() -> tuple[str, ...]:
    """Return the statements that create the six first tables where they are missing."""
    return tuple(
        f"CREATE TABLE IF NOT EXISTS {table} ("
        + ", ".join([*(f"{name} {kind}" for name, kind in kinds.items()), *_FIRST_KEYS[table]])
        + ")"
        for table, kinds in _FIRST_COLUMNS.items()
    )


@dataclass(frozen=True)
class Migration:
    """One step of the schema.

    Attributes:
        version: its id in ``goose_db_version``, as released.
        statements: SQL, in order.
        in_transaction: false where PostgreSQL refuses one (``CREATE INDEX CONCURRENTLY``).
    """

    version: int
    statements: tuple[str, ...]
    in_transaction: bool = True


def _add_string_ids() -> tuple[str, ...]:
    added = [
        f"ALTER TABLE {table} ADD COLUMN {column} {_NAME}"
        for table, names in _STRING_ID_COLUMNS.items()
        for column in names
    ]
    heartbeats = [
        f"ALTER TABLE {table} ADD COLUMN last_heartbeat_ts bigint" for table in (RUNS, TASKS)
    ]
    unique = [
        f"ALTER TABLE {table} ADD UNIQUE ({key})"
        for table, key in (
            (RUNS, "flow_id, run_id"),
            (STEPS, "flow_id, run_id, step_name"),
            (TASKS, "flow_id, run_number, step_name, task_name"),
        )
    ]
    return (*added, *heartbeats, *unique)


_METADATA_FIELD = "flow_id, run_number, step_name, task_id, field_name"

# The released one goes by way of a second constraint, which it drops; the result is this.
_METADATA_MAY_REPEAT = (
    f"ALTER TABLE {METADATA} DROP CONSTRAINT metadata_v3_pkey",
    f"ALTER TABLE {METADATA} ADD PRIMARY KEY (id, {_METADATA_FIELD})",
    f"CREATE INDEX metadata_v3_akey ON {METADATA} ({_METADATA_FIELD})",
)

# The user of a run counts only when its system tags name the same one.
_TRUSTED_USER = "(CASE WHEN system_tags ? ('user:' || user_name) THEN user_name END)"

_RUNS_BY_TIME = tuple(
    f"CREATE INDEX IF NOT EXISTS runs_v3_idx_{name} ON {RUNS} {keys}"
    for name, keys in (
        ("ts_epoch", "(ts_epoch)"),
        ("gin_tags_combined", "USING gin ((tags || system_tags))"),
        ("flow_id_asc_ts_epoch_desc", "(flow_id, ts_epoch DESC)"),
        ("user_asc_ts_epoch_desc", f"({_TRUSTED_USER}, ts_epoch DESC)"),
    )
)


def _index(name: str, table: str, keys: str, where: str = "") -> str:
    condition = f" WHERE {where}" if where else ""
    return f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {name} ON {table} ({keys}){condition}"


def _drop_index(name: str) -> str:
    return f"DROP INDEX CONCURRENTLY IF EXISTS {name}"


_NAMED_RUN = "run_id IS NOT NULL"
_NAMED_TASK = "run_id IS NOT NULL AND task_name IS NOT NULL"
_TASK_BY_NAME = "flow_id, run_id, step_name, task_name"
_TASK_BY_ID = "flow_id, run_id, step_name, task_id"
_TASKS_INDEX = "tasks_v3_idx_flow_id_run_id_step_name_task_name"

_PARTIAL_INDEXES = (
    _index("runs_v3_idx_str_ids_primary_key", RUNS, "flow_id, run_id", _NAMED_RUN),
    _index("steps_v3_idx_str_ids_primary_key", STEPS, "flow_id, run_id, step_name", _NAMED_RUN),
    _index(
        "metadata_v3_idx_str_ids_primary_key",
        METADATA,
        f"id, {_TASK_BY_NAME}, field_name",
        _NAMED_TASK,
    ),
    _index(
        "artifact_v3_idx_str_ids_primary_key",
        ARTIFACTS,
        f"{_TASK_BY_NAME}, attempt_id, name",
        _NAMED_TASK,
    ),
)

# Each partial index gives way to a full one only after that one is there.
_FULL_INDEXES = (
    _index("runs_v3_idx_str_ids_primary_key_v2", RUNS, "flow_id, run_id"),
    _drop_index("runs_v3_idx_str_ids_primary_key"),
    _index("steps_v3_idx_str_ids_primary_key_v2", STEPS, "flow_id, run_id, step_name"),
    _drop_index("steps_v3_idx_str_ids_primary_key"),
    _index(f"{_TASKS_INDEX}_v2", TASKS, _TASK_BY_NAME),
    _drop_index(_TASKS_INDEX),
    _index("metadata_v3_idx_str_ids_a_key", METADATA, f"{_TASK_BY_NAME}, field_name"),
    _index("metadata_v3_idx_str_ids_a_key_with_task_id", METADATA, f"{_TASK_BY_ID}, field_name"),
    _drop_index("metadata_v3_idx_str_ids_primary_key"),
    _index(
        "artifact_v3_idx_str_ids_primary_key_v2",
        ARTIFACTS,
        f"{_TASK_BY_NAME}, attempt_id, name",
    ),
    _index(
        "artifact_v3_idx_str_ids_primary_key_with_task_id",
        ARTIFACTS,
        f"{_TASK_BY_ID}, attempt_id, name",
    ),
    _drop_index("artifact_v3_idx_str_ids_primary_key"),
)

MIGRATIONS: tuple[Migration, ...] = (
    Migration(1, create_tables()),
    Migration(20200603104139, _add_string_ids()),
    Migration(20201002000616, _METADATA_MAY_REPEAT),
    Migration(20210202145952, _RUNS_BY_TIME),
    Migration(
        20210260056859,
        (_index(_TASKS_INDEX, TASKS, _TASK_BY_NAME, _NAMED_TASK),),
        in_transaction=False,
    ),
    Migration(20211202100726, _PARTIAL_INDEXES, in_transaction=False),
    Migration(
        20220503175500,
        (_index("runs_v3_idx_epoch_ts_desc", RUNS, "ts_epoch DESC"),),
        in_transaction=False,
    ),
    Migration(20230118020300, _FULL_INDEXES, in_transaction=False),
)
"""Every migration, oldest first."""
