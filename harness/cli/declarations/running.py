"""What is run: which cells, how, and on which way from service to service."""

from __future__ import annotations

import os
from dataclasses import replace
from operator import attrgetter
from pathlib import Path

from harness.cli.checks import (
    always,
    at_least_once,
    at_least_one_cell,
    each_of,
    more_than_zero,
    not_negative,
    pythons,
    requirements,
    shard,
)
from harness.cli.declarations.takers import CROSS, RUNS, SHARDED, SHARING, STACKS, WALKS
from harness.cli.option import Option, Role
from harness.core import expectations
from harness.core.outcome import GATES
from harness.core.pairs import NEIGHBOURS
from harness.core.probes import FLOWS
from harness.machine.dependencies import WORDS
from harness.stack.service import refs
from harness.stack.service.git import holds_secret
from harness.stack.service.settings import MIGRATION_SECONDS

DATASTORES = ("local", "s3")

_SELECTOR = "all, minors (last patch of each minor), latest, a comma list, or ranges like '>=2.3'"

_WHAT = "what to run"
_PROBE = Option(
    "--probe",
    ("compat", "fixed_db", "chaos", "local"),
    _WHAT,
    "comma list of probes, or all",
    Role.AXIS,
    default="basics",
    metavar="PROBES",
    may_be_empty=True,
)
METAFLOW = Option(
    "--metaflow",
    RUNS,
    _WHAT,
    f"clients: {_SELECTOR}",
    Role.AXIS,
    default="minors",
    metavar="CLIENTS",
    aliases=("--versions",),
    may_be_empty=True,
)
RESUME = Option(
    "--resume",
    RUNS,
    _WHAT,
    "go on with a run that was cut short, by id or results folder, unasked the last of the session:"
    " what is in its journal is not run again, and a walk goes on behind its last stage",
    Role.NOT_NEEDED,
    "a line runs its cell anew",
    metavar="RUN",
    bare="last",
    attribute="resumed",
)
EXPECTATIONS = Option(
    "--expectations",
    RUNS,
    _WHAT,
    "declared known failures",
    Role.CARRIED,
    kind=Path,
    default=expectations.FILE,
    unasked="expectations.json",
    metavar="FILE",
    attribute="expectations_file",
)
SELECTION = (
    METAFLOW,
    Option(
        "--metaflow-checkout",
        RUNS,
        _WHAT,
        "a clone of Netflix/metaflow, whose git refs are clients, too, HEAD with what is not"
        " committed; or a wheel, which is HEAD",
        Role.CARRIED,
        metavar="PATH|URL",
        secret=holds_secret,
        write=attrgetter("given"),
    ),
    Option(
        "--python",
        RUNS,
        _WHAT,
        "minor versions of Python that the clients run on, whether they work there or not: in"
        " compat and local several, each a session a client; elsewhere one",
        Role.AXIS,
        unasked="one that works for the client",
        metavar="PYTHONS",
        check=pythons,
    ),
    Option(
        "--deps",
        RUNS,
        _WHAT,
        "which versions of what they require clients have, one or several: as versions.json pins,"
        " those of the day of the client's release, the newest, or by a file of requirements; of"
        " limits where its name says constraints",
        Role.AXIS,
        default=WORDS[0],
        metavar="pinned|release-day|latest|FILE,…",
        may_be_empty=True,
    ),
    Option(
        "--with",
        RUNS,
        _WHAT,
        "install these beside each client, as pip takes them, with a space between: 'pandas>=3'",
        Role.AXIS,
        metavar="PACKAGES",
        check=requirements,
        dest="packages",
    ),
    Option(
        "--service",
        STACKS,
        _WHAT,
        f"services: {_SELECTOR}, or groups (newest of each code group); with --checkout any"
        " git ref, too",
        Role.AXIS,
        unasked="levels of the reference service: minors in compat, latest in cross and chaos, all"
        " in a walk;"
        f" groups of released ones; with --checkout: {refs.DEFAULT}",
        metavar="SERVICES",
        may_be_empty=True,
    ),
    _PROBE,
    replace(_PROBE, sessions=CROSS, default="basics,card,values,resume"),
    replace(_PROBE, sessions=("full",), default="basics,card,failing"),
    Option(
        "--flow-dir",
        RUNS,
        _WHAT,
        "folder of probes; a plain Metaflow flow in it is a probe too",
        Role.CARRIED,
        kind=Path,
        default=FLOWS,
        unasked="flows/",
        metavar="DIR",
    ),
    Option(
        "--datastore",
        RUNS,
        _WHAT,
        f"comma list of: {', '.join(DATASTORES)}",
        Role.AXIS,
        default="local",
        metavar="KINDS",
        may_be_empty=True,
    ),
    EXPECTATIONS,
    RESUME,
    Option(
        "--plan",
        RUNS,
        _WHAT,
        "print the plan and stop: as text, as one JSON object a session, or as the matrix of a"
        " workflow of GitHub, whose jobs run --shard N shards",
        Role.NOT_NEEDED,
        "a run that only prints its plan has no cells",
        choices=("text", "json", "github"),
        bare="text",
    ),
    Option(
        "--shard",
        SHARDED,
        _WHAT,
        "run part I of N of the plan: in compat and local what a client runs on a stack stays"
        " together, in cross what shares a database, in fixed_db a walk; report puts the results of"
        " all together",
        Role.AXIS,
        metavar="I/N",
        check=shard,
    ),
    Option(
        "--durations",
        SHARDED,
        _WHAT,
        "results folder or journal that tells how long cells take, so that shards take about as"
        " long as each other: the same for all of them",
        Role.AXIS,
        kind=Path,
        unasked="each cell counts the same",
        metavar="RESULTS",
        needs={"--shard": "{name} is of no use without --shard"},
    ),
)

_HOW = "how to run it"
_MAY_CHANGE = "{name}: what {other} names may change any time, so nothing is taken for it"
RUNNING = (
    Option(
        "--jobs",
        # What one cell breaks the others would find broken.
        (*SHARING, "local"),
        _HOW,
        "cells at a time",
        # Cells that run again together can be in each other's way as they were before.
        Role.CARRIED,
        metavar="N",
        kind=int,
        default=os.cpu_count() or 1,
        unasked="cores",
        check=at_least_one_cell,
    ),
    Option(
        "--timeout",
        RUNS,
        _HOW,
        "seconds a cell may take",
        Role.CARRIED,
        metavar="SECONDS",
        kind=float,
        default=300.0,
        check=more_than_zero("a cell"),
    ),
    Option(
        "--repeat",
        ("compat", "local"),
        _HOW,
        "run each cell so often, one attempt after the other, and tell what differs",
        Role.CARRIED,
        metavar="N",
        kind=int,
        default=1,
        check=at_least_once,
    ),
    Option(
        "--reuse",
        ("compat", "local", *CROSS),
        _HOW,
        "take the result of a cell from the results folder where an earlier run has one of the same"
        " key: all that decides it, the code that ran, and every version; told as reused, by run"
        " and day",
        Role.NOT_NEEDED,
        "a line runs its cell anew",
        kind=bool,
        default=False,
        excludes={
            "--repeat": "--repeat asks for a cell several times: leave out {name}",
            "--keep": "--keep leaves what cells made, and what is reused makes nothing:"
            " leave out {name}",
            "--remove-images": "{name} knows a service by its image: leave out --remove-images",
            **dict.fromkeys(("--service-url", "--s3-root"), _MAY_CHANGE),
            "--database-password": "{name} would have to write down what tells the password of"
            " {other}: leave one out",
        },
    ),
    Option(
        "--no-dedupe",
        ("compat", *CROSS),
        _HOW,
        "run each of several services of the same code, which report the same version; unasked one"
        " is run, and told for the others, marked so",
        Role.NOT_NEEDED,
        "a line runs one cell",
        kind=bool,
        default=False,
    ),
    Option(
        "--retries",
        RUNS,
        _HOW,
        "do a cell, or a stage of a walk, again so often that the machine broke (infra), once what"
        " died is replaced",
        Role.CARRIED,
        metavar="N",
        kind=int,
        default=1,
        check=not_negative,
    ),
)

CROSSING = (
    Option(
        "--pairs",
        CROSS,
        "who reads and resumes what whom wrote",
        "each client with itself and: its neighbours, the oldest and the newest (corners), or all;"
        " or just these, WRITER:READER, or WRITER:READER:RESUMER where the run is resumed",
        Role.AXIS,
        default=NEIGHBOURS,
        metavar="PAIRS",
    ),
)

_WALK_GROUP = "the walk"
DATABASE_URL = Option(
    "--database-url",
    WALKS,
    _WALK_GROUP,
    "walk over this existing database",
    Role.REFUSED,
    "the walk has changed that database: the copy must be restored first",
    metavar="URL",
    may_be_empty=True,
    backend="embedded",
    variables=("PGPASSWORD",),
)
GATE = Option(
    "--gate",
    WALKS,
    _WALK_GROUP,
    "make red what is an aside otherwise; rollback: a stage from which the service cannot be rolled"
    " back by image alone",
    Role.CARRIED,
    metavar="GATES",
    check=each_of(GATES, "gate"),
    attribute="gates",
    write=",".join,
)
_EXTERNAL = ("compat", *CROSS)
_EXTERNAL_GROUP = "a service that somebody else runs"
_OF_A_SERVICE = "{name} goes with --service-url here: it is about that service's database"
_IT_IS_THERE = "--service-url names a service as it runs: leave out {other}"
EXTERNAL = (
    Option(
        "--service-url",
        _EXTERNAL,
        _EXTERNAL_GROUP,
        "ask this metadata service and no other",
        # The line of a cell names it in the place of --service.
        Role.AXIS,
        metavar="URL",
        excludes=dict.fromkeys(
            (
                *("--service", "--checkout", "--scenario", "--postgres", "--keep"),
                *(
                    "--database-tls",
                    "--database-name",
                    "--database-user",
                    "--database-password",
                    "--database-port",
                ),
            ),
            _IT_IS_THERE,
        ),
        backend="embedded",
    ),
    replace(
        DATABASE_URL,
        sessions=_EXTERNAL,
        group=_EXTERNAL_GROUP,
        help="its database, to compare its rows with what clients and answers say",
        role=Role.CARRIED,
        why="",
        secret=always,
        may_be_empty=False,
        needs={"--service-url": _OF_A_SERVICE},
    ),
    Option(
        "--allow-existing",
        _EXTERNAL,
        _EXTERNAL_GROUP,
        "even when it has flows already: it gets those of the run beside them",
        Role.NOT_NEEDED,
        "a line with --service-url says it",
        kind=bool,
        default=False,
        needs={"--service-url": "{name} goes with --service-url here"},
    ),
)
WALK = (
    Option(
        "--path",
        WALKS,
        _WALK_GROUP,
        "just these services, in this order, upwards or back",
        Role.AXIS,
        metavar="SERVICES",
        may_be_empty=True,
        excludes={
            "--seed": "",
            "--service": "--path names its services itself; leave out --service",
        },
    ),
    Option(
        "--seed",
        WALKS,
        _WALK_GROUP,
        "a random path over the services, with rollbacks in between",
        Role.AXIS,
        metavar="N",
        kind=int,
    ),
    Option(
        "--on-failure",
        WALKS,
        _WALK_GROUP,
        "after a failed migration go on with the next service, or stop",
        Role.CARRIED,
        default="next",
        choices=("next", "stop"),
    ),
    Option(
        "--migration-timeout",
        WALKS,
        _WALK_GROUP,
        "seconds a migration may take",
        Role.CARRIED,
        metavar="SECONDS",
        kind=float,
        default=MIGRATION_SECONDS,
        check=more_than_zero("a migration"),
    ),
    Option(
        "--postgres-upgrade",
        WALKS,
        _WALK_GROUP,
        "move the database in mid-walk, by dump and restore, from each PostgreSQL to the next, a"
        " stage of its own: named as for --postgres; a --path says where by naming a service again",
        Role.AXIS,
        metavar="FROM,TO",
        excludes={
            "--postgres": "--postgres-upgrade names each PostgreSQL itself; leave out --postgres",
            "--postgres-image": "",
            "--database-url": "--database-url names one database where it is; it cannot move:"
            " leave out --postgres-upgrade",
        },
    ),
    GATE,
    DATABASE_URL,
    Option(
        "--allow-existing",
        WALKS,
        _WALK_GROUP,
        "even when it holds data: it is migrated, and gets the walk's runs",
        Role.NOT_NEEDED,
        "it goes with --database-url",
        kind=bool,
        default=False,
    ),
)
