"""The entries of a journal: typed, written and read by one library; the schemas come from them.

The types say all there is to say of the format: docs/journal.schema.json and
docs/results.schema.json are generated from them (``python -m harness.report.schema``).
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from harness.core.axes import Point
from harness.core.outcome import CheckOutcome, Status

SCHEMA: Literal[2] = 2
"""Version of the journal's format; it changes when a field changes meaning or goes."""


def now() -> datetime:
    """Return the time in UTC, in whole seconds."""
    # In UTC: journals of several machines are put in the order of their times.
    return datetime.now(timezone.utc).replace(microsecond=0)


Direction = Literal["upgrade", "rollback", "downgrade", "move"]
Moment = Annotated[
    datetime, Meta(tz=True, description="when it was written, ISO 8601 with its time zone")
]
Count = Annotated[int, Meta(ge=0)]
Seconds = Annotated[float, Meta(ge=0)]


# Unknown fields are refused: a journal of a later format must not be half understood.
class _Entry(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """What every entry has.

    Attributes:
        schema: version of the format.
        at: when it was written.
    """

    schema: Literal[2] = SCHEMA
    at: Moment


class Begun(_Entry, kw_only=True, tag="run"):
    """The first line of a run.

    Attributes:
        run: the run's id, also the name of its results folder.
        session: ``compat``, ``fixed_db``, ``local`` or ``ui``.
        options: what followed ``--``.
        backend: the sentence on where database and service come from.
        datastores: a sentence each on where clients' data is; with S3 its address and the run's
            own prefix.
        clients: names, in the order of the plan, which is the order of the grid.
        services: likewise.
    """

    run: str
    session: str
    options: list[str]
    backend: str
    datastores: list[str] = []
    clients: list[str]
    services: list[str]


class PlannedCell(Point, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A cell before anything came of it: its point, and what is asked there.

    Attributes:
        id: its stable name.
        session: of its run.
        service_kind: ``released``, ``reference``, ``checkout`` or ``external``;
            None without a service.
        probe: name of the probe; of what a UI shows, it may be anybody's flow.
        probe_digest: of the probe's content; empty for a flow nobody has the file of.
        stage: number of the stage in a walk, from 1; 0 elsewhere.
        rerun: the command that runs just this cell.
    """

    id: str
    session: str
    service_kind: str | None = None
    probe: str
    probe_digest: str = ""
    stage: Count = 0
    rerun: str


class PlannedStage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A stage of a walk before anything came of it.

    Attributes:
        stage: its number in its walk, from 1.
        service: name.
        service_kind: ``released``, ``reference``, ``checkout`` or ``external``.
        direction: ``upgrade``; ``rollback`` for a step back to a service of the same schema,
            ``downgrade`` to one of an older schema; ``move`` where the database alone moves.
        walk: what tells its walk from others of the run: ``postgres=18``, say; mostly empty.
        postgres: the PostgreSQL it is on, where the walk moves from one to another; else empty.
    """

    stage: Count
    service: str
    service_kind: str
    direction: Direction
    walk: str = ""
    postgres: str = ""


class Planned(_Entry, kw_only=True, tag="planned"):
    """What a run is going to do; written right after its beginning, and by a search again.

    Attributes:
        run: the run's id.
        cells: in the order they are started.
        stages: those of its walks, in order; empty in other sessions.
        asked: by probe, the names of the checks that are made.
        cut: digest of a whole plan's cells and of how it is cut into shards, of which these cells
            are one: shards of one plan have the same. Empty for a plan that is whole.
    """

    run: str
    cells: list[PlannedCell]
    stages: list[PlannedStage] = []
    asked: dict[str, list[str]] = {}
    cut: str = ""


class Environment(_Entry, kw_only=True, tag="environment"):
    """What is installed in the environment of a client; cells name it by its digest.

    Attributes:
        run: the run's id.
        client: its release.
        python: the whole version of its Python.
        digest: of all the rest.
        packages: versions by name; of what came from elsewhere than an index also the last part of
            its address, and a digest of its contents.
        build: what its Python says of itself behind the version: when it was built, and by what.
    """

    run: str
    client: str
    python: str
    digest: str
    packages: dict[str, str]
    build: str = ""


class Note(_Entry, kw_only=True, tag="note"):
    """What is worth knowing of a service, or of a client under development, and is no failure.

    Attributes:
        run: the run's id.
        service: its name; empty for what is told of a client.
        text: a sentence.
    """

    run: str
    service: str
    text: str


class Provenance(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that decided an outcome, beside the cell's own point and probe.

    Attributes:
        python: the whole version of the client's Python.
        environment: digest of the client's environment, which an entry of that name lists.
        others: by release, the same of other clients that have a role in the cell.
        service: commit, image id or digest of the code that served.
        reported: the version it told clients; None where it tells none.
        db_schema: newest applied migration; None without a database.
        server: image id or digest of PostgreSQL's programs; empty without.
        database: whole version of PostgreSQL; empty without.
        store: what stored the data, and how clients were told of it; empty for folders.
        asked: digest of the names of the checks that are asked, and of what versions.json says of
            the service: by it some are not asked, and some answers are noted.
        settings: digest of what else was asked for: seconds a cell may take, names in the database;
            empty where somebody else's part decided, too, which may change any time.
        machine: system, architecture and C library.
        harness: digest of the harness's code, but for what reads options and draws reports, of the
            packages that it rests on, and of its Python.
        key: digest of all of this, of the point and of the probe: results of one key may be taken
            for each other. Empty without settings: such a result is taken for no other.
    """

    python: str = ""
    environment: str = ""
    others: dict[str, str] = {}
    service: str = ""
    reported: str | None = None
    db_schema: int | None = None
    server: str = ""
    database: str = ""
    store: str = ""
    asked: str = ""
    settings: str = ""
    machine: str = ""
    harness: str = ""
    key: str = ""


class Reused(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a result is from that was not obtained now, but taken from another.

    Attributes:
        run: the run that obtained it.
        at: when.
        service: the service that it was obtained with, where that is another one of the same code.
    """

    run: str
    at: Moment
    service: str = ""


class Inferred(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of what a result was inferred that was not obtained.

    Attributes:
        beside: ids of the nearest cells of the run that ran, or were reused, and came out so.
    """

    beside: list[str]


class CellEntry(PlannedCell, frozen=True, kw_only=True, tag_field="kind", tag="cell"):
    """What came of a cell.

    Attributes:
        schema: version of the format.
        at: when it was written.
        run: the run's id.
        status: the worst of its checks.
        checks: what came of each, by name; the reason may be empty for a pass.
        flow_run: ``FLOW/RUN``, as the client names it; empty when there never was one.
        ended: by ``FLOW/RUN`` how each run of the cell ended, ``completed`` or ``failed``, by the
            exit code of its program: what a UI must show of it. Empty where it was not let end.
        seconds: wall time, without that of reading earlier runs again; of a reused one, when it
            was obtained.
        evidence: files to look at, by kind, relative to the journal's folder.
        provenance: all else that decided it, as far as it got.
        undeclared: what came of those of its checks that are told otherwise because of what is
            declared of them.
        reused: where it was taken from; None for what ran.
        inferred: of what it was inferred, where nobody ran it; None for everything else.
    """

    # It takes its fields from PlannedCell, so those of every entry stand here again.
    schema: Literal[2] = SCHEMA
    at: Moment
    run: str
    status: Status
    checks: dict[str, CheckOutcome]
    flow_run: str = ""
    ended: dict[str, str] = {}
    seconds: Seconds = 0.0
    evidence: dict[str, str] = {}
    provenance: Provenance = Provenance()
    undeclared: dict[str, CheckOutcome] = {}
    reused: Reused | None = None
    inferred: Inferred | None = None


class Answered(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a service was found to do when it was asked for its contract, before it was judged.

    Attributes:
        problems: sentences, each begins with the name of its check.
        early: likewise of what it answered before its database was migrated; None where that was
            not asked.
        notes: what is worth knowing of it and is no failure.
    """

    problems: list[str]
    early: list[str] | None = None
    notes: list[str] = []


class StageEntry(_Entry, kw_only=True, tag="stage"):
    """What came of one stage of a walk; or of a service by itself, which no client had used yet.

    Attributes:
        run: the run's id.
        stage: its number in its walk, from 1; 0 for a service on a fresh database of its own.
        service: name.
        service_kind: ``released``, ``reference``, ``checkout`` or ``external``.
        direction: ``upgrade``; ``rollback`` for a step back to a service of the same schema,
            ``downgrade`` to one of an older schema; ``move`` where the database alone moves.
        walk: what tells its walk from others of the run: ``postgres=18``, say; mostly empty.
        postgres: the PostgreSQL it is on, where the walk moves from one to another; else empty.
        status: of the whole stage.
        reported: the version the service tells clients; None where it tells none.
        schema_before: newest applied migration; None for an empty database.
        schema_after: likewise.
        migrations: those that were applied.
        migration_seconds: from the service's start to its answer on the migrated schema.
        migration_output: what the migration printed.
        migration_status: what the migration service said ``before`` and ``after``.
        seconds: wall time of the whole stage.
        rows: in the six tables when the stage ends.
        carried: rows that earlier stages left, all of them compared.
        rereads: runs of earlier stages read again, counted per reader.
        lost: rows and values that are gone or changed, in words.
        problems: everything else that is wrong, in words.
        known: what fails as declared in expectations.json, in words.
        observed: named behaviour of the service to what it answered, without a client; neighbouring
            releases are compared by it. Empty where not everything could be asked.
        rollback: ``safe`` or ``unsafe``; None where the schema did not change.
        rollback_evidence: what was asked of the previous service, and what came of it.
        log: the service's log, relative to the journal's folder.
        provenance: of a service by itself, what decided it, as for a cell.
        answered: of a service by itself, what it was found to do; None where not everything could
            be asked.
        reused: of a service by itself, where this was taken from; None for one that was asked.
    """

    run: str
    stage: Count
    service: str
    service_kind: str
    direction: Direction
    walk: str = ""
    postgres: str = ""
    status: Status = Status.NOT_RUN
    reported: str | None = None
    schema_before: int | None = None
    schema_after: int | None = None
    migrations: list[str] = []
    migration_seconds: Seconds = 0.0
    migration_output: str = ""
    migration_status: dict[str, Any] = {}
    seconds: Seconds = 0.0
    rows: Count = 0
    carried: Count = 0
    rereads: Count = 0
    lost: list[str] = []
    problems: list[str] = []
    known: list[str] = []
    observed: dict[str, str] = {}
    rollback: Literal["safe", "unsafe"] | None = None
    rollback_evidence: list[str] = []
    log: str = ""
    provenance: Provenance = Provenance()
    answered: Answered | None = None
    reused: Reused | None = None


class Rerun(_Entry, kw_only=True, tag="rerun"):
    """Written by ``nox -s rerun``.

    Attributes:
        of: the runs whose cells were run again.
        runs: the runs that did so; a cell that was red before and is green in one is flaky.
    """

    of: list[str]
    runs: list[str]


class Resumed(_Entry, kw_only=True, tag="resumed"):
    """A run that was cut short goes on; its cells follow, and an end of its own.

    Attributes:
        run: the run's id.
        options: those it goes on with, as words of a command line.
        set_aside: ids of the cells whose entries count no more: those of the stages of a walk that
            are done again, on the database as it was before them.
    """

    run: str
    options: list[str]
    set_aside: list[str] = []


class Ended(_Entry, kw_only=True, tag="end"):
    """The last line of a run, unless it is resumed; without it the run was cut short.

    Attributes:
        run: the run's id.
    """

    run: str


Entry = Begun | Planned | Environment | Note | CellEntry | StageEntry | Rerun | Resumed | Ended
