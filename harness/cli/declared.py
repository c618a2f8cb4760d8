"""Every option there is, declared once.

The parser, its help, what is checked before anything starts, the lines that run a cell again, the
journal's ``options`` and docs/options.md are made from this table.
"""

from __future__ import annotations

import os
from dataclasses import replace
from operator import attrgetter
from pathlib import Path

from harness.cli.checks import always, at_least_one_cell, image, image_or_tag, more_than_zero, port
from harness.cli.option import Option, Role
from harness.core import expectations
from harness.core.probes import FLOWS
from harness.machine.tools import ROOT
from harness.stack.database.wheel import MAJORS
from harness.stack.service import refs
from harness.stack.service.git import holds_secret
from harness.stack.service.settings import MIGRATION_SECONDS, SCENARIOS

DATASTORES = ("local", "s3")
DATABASE = "metaflow"
"""The name of the database, and that of its owner, unasked."""
RESULTS = ROOT / "results"
LATEST = RESULTS / "latest"
PORT_OF_UI = 8083
"""Where the UI is expected, by everything that is written about it."""


_WALKS = ("fixed_db", "full")
_STACKS = ("compat", *_WALKS)
_RUNS = (*_STACKS, "local")
_SHOWS = ("full", "ui")
_UI = ("ui",)


_AFTER_THE_OUTCOME = "what is kept is kept when the outcome is known"
_NO_CELLS = "no cell comes of this session"
_SELECTOR = "all, minors (last patch of each minor), latest, a comma list, or ranges like '>=2.3'"
_FROM_A_CLONE = "{name} {value} needs services from a clone: --checkout PATH|URL"
_CHOOSES = "{name} chooses among the runs that --check looks for; add --check"
_EACH_SAYS = "--s3-image and {other} exclude each other: each says where data is"

_WHAT = "what to run"
_PROBE = Option(
    "--probe",
    ("compat", "fixed_db", "local"),
    _WHAT,
    "comma list of probes, or all",
    Role.AXIS,
    default="basics",
    metavar="PROBES",
    may_be_empty=True,
)
_METAFLOW = Option(
    "--metaflow",
    _RUNS,
    _WHAT,
    f"clients: {_SELECTOR}",
    Role.AXIS,
    default="minors",
    metavar="CLIENTS",
    aliases=("--versions",),
    may_be_empty=True,
)
_EXPECTATIONS = Option(
    "--expectations",
    _RUNS,
    _WHAT,
    "declared known failures",
    Role.CARRIED,
    kind=Path,
    default=expectations.FILE,
    unasked="expectations.json",
    metavar="FILE",
    attribute="expectations_file",
)
_SELECTION = (
    _METAFLOW,
    Option(
        "--service",
        _STACKS,
        _WHAT,
        f"services: {_SELECTOR}, or groups (newest of each code group); with --checkout any"
        " git ref, too",
        Role.AXIS,
        unasked="all levels of the reference service, groups of released ones; with --checkout:"
        f" {refs.DEFAULT}",
        metavar="SERVICES",
        may_be_empty=True,
    ),
    _PROBE,
    replace(_PROBE, sessions=("full",), default="basics,card,failing"),
    Option(
        "--flow-dir",
        _RUNS,
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
        _RUNS,
        _WHAT,
        f"comma list of: {', '.join(DATASTORES)}",
        Role.AXIS,
        default="local",
        metavar="KINDS",
        may_be_empty=True,
    ),
    _EXPECTATIONS,
    Option(
        "--plan",
        _RUNS,
        _WHAT,
        "print the plan and stop: as text, or as one JSON object a session",
        Role.NOT_NEEDED,
        "a run that only prints its plan has no cells",
        choices=("text", "json"),
        bare="text",
    ),
)

_HOW = "how to run it"
_RUNNING = (
    Option(
        "--jobs",
        _RUNS,
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
        _RUNS,
        _HOW,
        "seconds a cell may take",
        Role.CARRIED,
        metavar="SECONDS",
        kind=float,
        default=300.0,
        check=more_than_zero("a cell"),
    ),
)

_STACK_GROUP = "database and service"
_BACKEND = Option(
    "--backend",
    _STACKS,
    _STACK_GROUP,
    "where database and service come from: processes of this machine (embedded), containers"
    " (docker), or containers where a Docker engine answers (auto)",
    Role.CARRIED,
    default="auto",
    choices=("auto", "embedded", "docker"),
    variables=("DOCKER_HOST", "DOCKER_CONTEXT"),
)
_CHECKOUT = Option(
    "--checkout",
    _STACKS,
    _STACK_GROUP,
    "take services from this clone of Netflix/metaflow-service, as processes; with containers"
    " released ones are the published images, and an image is built of others",
    Role.CARRIED,
    metavar="PATH|URL",
    secret=holds_secret,
    attribute="clone",
    write=attrgetter("given"),
)
_STACK = (
    _BACKEND,
    _CHECKOUT,
    Option(
        "--scenario",
        _STACKS,
        _STACK_GROUP,
        "do something wrong on purpose (--checkout)",
        Role.AXIS,
        choices=tuple(SCENARIOS),
        needs={"--checkout": _FROM_A_CLONE},
        backend="embedded",
    ),
    Option(
        "--postgres",
        _STACKS,
        _STACK_GROUP,
        f"PostgreSQL, one or several: embedded a major of a wheel ({', '.join(MAJORS)}) or the"
        " folder of binaries; with containers a tag of the image postgres",
        Role.AXIS,
        unasked="the wheel's first; with containers the tag in versions.json",
        metavar="VARIANTS",
        excludes={"--postgres-image": "", "--database-url": ""},
    ),
    Option(
        "--database-name",
        _STACKS,
        _STACK_GROUP,
        "name of the database",
        Role.CARRIED,
        metavar="NAME",
        default=DATABASE,
    ),
    Option(
        "--database-user",
        _STACKS,
        _STACK_GROUP,
        "its owner",
        Role.CARRIED,
        default=DATABASE,
        metavar="USER",
    ),
    Option(
        "--database-password",
        _STACKS,
        _STACK_GROUP,
        "its password, or where it is: env:NAME, file:PATH",
        Role.CARRIED,
        metavar="PASSWORD",
        unasked="a random one",
        secret=always,
    ),
    Option(
        "--database-port",
        _STACKS,
        _STACK_GROUP,
        "its port on 127.0.0.1",
        Role.CARRIED,
        metavar="PORT",
        kind=int,
        unasked="the system chooses",
        check=port,
    ),
)

_CONTAINERS_GROUP = "containers"
_PULL = Option(
    "--pull",
    _STACKS,
    _CONTAINERS_GROUP,
    "when to pull images; missing: those that are not on the engine",
    Role.CARRIED,
    default="missing",
    choices=("always", "missing", "never"),
    backend="docker",
)
_REGISTRY = Option(
    "--registry",
    _STACKS,
    _CONTAINERS_GROUP,
    "take images from this mirror of Docker Hub, e.g. mirror.example.com/hub",
    Role.CARRIED,
    default="",
    metavar="PREFIX",
    may_be_empty=True,
    backend="docker",
)
_DOCKERFILE = Option(
    "--dockerfile",
    _STACKS,
    _CONTAINERS_GROUP,
    "build images of the checkout from this file of it",
    Role.CARRIED,
    default="Dockerfile",
    metavar="PATH",
    needs={"--checkout": _FROM_A_CLONE},
    backend="docker",
)
_CONTAINERS = (
    _PULL,
    Option(
        "--postgres-image",
        _STACKS,
        _CONTAINERS_GROUP,
        "tag of the image postgres, or a whole image name",
        Role.CARRIED,
        unasked="the tag in versions.json",
        metavar="TAG",
        check=image_or_tag,
        backend="docker",
    ),
    _REGISTRY,
    _DOCKERFILE,
    Option(
        "--remove-images",
        _STACKS,
        _CONTAINERS_GROUP,
        "pull images a few at a time and remove them after use, but those that were there: fixed_db"
        " has five services' on the disk at most, compat in the end all of them",
        # Without it the images of a walk may fill the disk.
        Role.CARRIED,
        kind=bool,
        default=False,
        backend="docker",
    ),
)

_WALK_GROUP = "the walk"
_DATABASE_URL = Option(
    "--database-url",
    _WALKS,
    _WALK_GROUP,
    "walk over this existing database",
    Role.REFUSED,
    "the walk has changed that database: the copy must be restored first",
    metavar="URL",
    may_be_empty=True,
    backend="embedded",
    variables=("PGPASSWORD",),
)
_WALK = (
    Option(
        "--path",
        _WALKS,
        _WALK_GROUP,
        "just these services, in this order",
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
        _WALKS,
        _WALK_GROUP,
        "a random path over the services, with rollbacks in between",
        Role.AXIS,
        metavar="N",
        kind=int,
    ),
    Option(
        "--on-failure",
        _WALKS,
        _WALK_GROUP,
        "after a failed migration go on with the next service, or stop",
        Role.CARRIED,
        default="next",
        choices=("next", "stop"),
    ),
    Option(
        "--migration-timeout",
        _WALKS,
        _WALK_GROUP,
        "seconds a migration may take",
        Role.CARRIED,
        metavar="SECONDS",
        kind=float,
        default=MIGRATION_SECONDS,
        check=more_than_zero("a migration"),
    ),
    _DATABASE_URL,
    Option(
        "--allow-existing",
        _WALKS,
        _WALK_GROUP,
        "even when it holds data: it is migrated, and gets the walk's runs",
        Role.NOT_NEEDED,
        "it goes with --database-url",
        kind=bool,
        default=False,
    ),
)

_GROUND_GROUP = "what to show"
_GROUND = (
    Option(
        "--from",
        _UI,
        _GROUND_GROUP,
        "the stack that this run kept (its id or results folder)",
        Role.AXIS,
        unasked="the latest kept",
        metavar="RUN",
        excludes={"--database-url": ""},
        dest="source",
    ),
    replace(
        _DATABASE_URL,
        sessions=_UI,
        group=_GROUND_GROUP,
        help="this existing database",
        role=Role.AXIS,
        why="without its password, which PGPASSWORD gives",
        backend="",
    ),
)

_UI_GROUP = "the Metaflow UI"
_PAGE = (
    Option(
        "--ui-version",
        _SHOWS,
        _UI_GROUP,
        "service releases whose UI backend is started, selected as --service does; several only"
        " with --check",
        Role.AXIS,
        unasked="the one the database was left by, if it has a UI, else the latest",
        metavar="VERSIONS",
        attribute="versions",
    ),
    Option(
        "--ui-assets",
        _SHOWS,
        _UI_GROUP,
        "the built page, for backends that run as processes: a folder, or the zip published with"
        " the UI's releases",
        Role.CARRIED,
        kind=Path,
        metavar="PATH",
        attribute="assets",
    ),
    Option(
        "--ui-image",
        _SHOWS,
        _UI_GROUP,
        "serve the page from this image of Netflix/metaflow-ui, in a container of its own",
        Role.CARRIED,
        metavar="IMAGE",
        attribute="image",
    ),
    Option(
        "--ui-checkout",
        _SHOWS,
        _UI_GROUP,
        "build that image from this clone of Netflix/metaflow-ui",
        Role.CARRIED,
        metavar="PATH|URL",
        excludes={"--ui-image": ""},
        secret=holds_secret,
        attribute="page_clone",
        write=attrgetter("given"),
    ),
    Option(
        "--ui-port",
        _SHOWS,
        _UI_GROUP,
        "port of the page on 127.0.0.1",
        Role.CARRIED,
        metavar="PORT",
        kind=int,
        unasked=f"{PORT_OF_UI}; with --check the system chooses",
        check=port,
        attribute="port",
    ),
    Option(
        "--ui-full",
        _SHOWS,
        _UI_GROUP,
        "as many workers as the backend has unasked: 44 processes, 2.2 GB",
        Role.CARRIED,
        kind=bool,
        default=False,
        attribute="whole",
    ),
    Option(
        "--ui-triggers",
        _SHOWS,
        _UI_GROUP,
        "let the backend make triggers in the database, for news of runs as they come",
        Role.CARRIED,
        kind=bool,
        default=False,
        attribute="triggers",
    ),
    Option(
        "--check",
        _SHOWS,
        _UI_GROUP,
        "look for a sample of runs of every client, by the API and in a browser, and end",
        Role.AXIS,
        kind=bool,
        default=False,
    ),
    Option(
        "--detach",
        _SHOWS,
        _UI_GROUP,
        "leave it running; nox -s clean ends it",
        Role.NOT_NEEDED,
        "only --check has lines",
        kind=bool,
        default=False,
        excludes={"--check": ""},
    ),
)

_ORIGIN_GROUP = "where it comes from"
_ORIGIN = (
    replace(
        _BACKEND,
        sessions=_UI,
        group=_ORIGIN_GROUP,
        help="where the UI backend comes from: processes of this machine (embedded), containers"
        " (docker), or containers where a Docker engine answers (auto)",
    ),
    replace(
        _CHECKOUT,
        sessions=_UI,
        group=_ORIGIN_GROUP,
        help="take the UI backend from this clone of Netflix/metaflow-service, as processes; with"
        " containers released ones are the published images, and an image is built of others",
    ),
    replace(_PULL, sessions=_UI, group=_ORIGIN_GROUP),
    replace(_REGISTRY, sessions=_UI, group=_ORIGIN_GROUP),
    replace(_DOCKERFILE, sessions=_UI, group=_ORIGIN_GROUP),
)

_CHECK_GROUP = "with --check"
_CHECKING = (
    replace(
        _METAFLOW,
        sessions=_UI,
        group=_CHECK_GROUP,
        help="only runs of these clients",
        default=None,
        unasked="of every client that is in the database",
        needs={"--check": _CHOOSES},
        attribute="clients",
    ),
    Option(
        "--run",
        _UI,
        _CHECK_GROUP,
        "only this run, which must be the newest of its kind",
        Role.AXIS,
        metavar="FLOW/RUN",
        needs={"--check": _CHOOSES},
    ),
    replace(_EXPECTATIONS, sessions=_UI, group=_CHECK_GROUP),
)

_S3_GROUP = "S3 (with --datastore s3)"
_S3 = (
    Option(
        "--s3-image",
        _STACKS,
        _S3_GROUP,
        "with containers: store in a server from this image, e.g. minio/minio",
        Role.CARRIED,
        unasked="a moto server of the run's own, as a process",
        metavar="IMAGE",
        check=image,
        may_be_empty=True,
        excludes={"--s3-root": _EACH_SAYS, "--s3-endpoint": _EACH_SAYS},
        backend="docker",
        datastore="s3",
    ),
    Option(
        "--s3-root",
        _RUNS,
        _S3_GROUP,
        "s3://bucket/prefix to store in, by the usual AWS variables or profile",
        Role.CARRIED,
        unasked="METAFLOW_DATASTORE_SYSROOT_S3 when it is set, else a server of the run's own",
        metavar="URL",
        may_be_empty=True,
        datastore="s3",
        variables=("METAFLOW_DATASTORE_SYSROOT_S3",),
        write=attrgetter("url"),
    ),
    Option(
        "--s3-endpoint",
        _RUNS,
        _S3_GROUP,
        "address of an S3-compatible server that has the root",
        Role.CARRIED,
        unasked="METAFLOW_S3_ENDPOINT_URL when it is set, else Amazon's",
        metavar="URL",
        may_be_empty=True,
        datastore="s3",
        variables=("METAFLOW_S3_ENDPOINT_URL",),
    ),
)

_KEEP_GROUP = "what to keep and show"
_RESULTS = Option(
    "--results",
    _RUNS,
    _KEEP_GROUP,
    "folder for the results of runs",
    Role.NOT_NEEDED,
    "it says where the outcome is written; rerun has a folder of its own",
    kind=Path,
    default=RESULTS,
    unasked="results/",
    metavar="DIR",
    aliases=("--results-output-path",),
)
_KEEPING = (
    _RESULTS,
    replace(_RESULTS, sessions=_UI, group="results"),
    Option(
        "--keep",
        _RUNS,
        _KEEP_GROUP,
        "keep the clients' working folders and data, and the last stack: its containers, or the"
        " files of the embedded database (nox -s ui shows what is in it)",
        Role.NOT_NEEDED,
        _AFTER_THE_OUTCOME,
        kind=bool,
        default=False,
        aliases=("--dont-remove-containers",),
    ),
    Option(
        "--with-service-logs",
        _RUNS,
        _KEEP_GROUP,
        "show what the services print, as it comes",
        Role.NOT_NEEDED,
        "it shows what is logged anyway",
        kind=bool,
        default=False,
        aliases=("--with-md-logs",),
    ),
)


def _argument(
    name: str, session: str, about: str, count: str = "", kind: type[str | Path] = Path
) -> Option:
    return Option(name, (session,), "", about, Role.NOT_NEEDED, _NO_CELLS, kind=kind, count=count)


_COMMANDS = (
    replace(
        _argument("sources", "report", "results folders or journals", "*"), unasked="the latest"
    ),
    Option(
        "--output",
        ("report",),
        "",
        "folder for the reports",
        Role.NOT_NEEDED,
        _NO_CELLS,
        kind=Path,
        metavar="DIR",
        unasked="the source, or results/merged for several",
    ),
    Option(
        "--write-expectations",
        ("report",),
        "",
        "write expectations.proposed.json: what the run's file declares, and all that is red",
        Role.NOT_NEEDED,
        _NO_CELLS,
        kind=bool,
        default=False,
    ),
    _argument("old", "diff", "results folder or journal"),
    _argument("new", "diff", "results folder or journal"),
    _argument("cells", "rerun", "ids, such as compat/2.19.39/reference-2.5/…", "*", str),
    Option(
        "--from",
        ("rerun",),
        "",
        "results folder or journal that says what failed",
        Role.NOT_NEEDED,
        "the line itself says what is run again",
        kind=Path,
        default=LATEST,
        unasked="results/latest",
        metavar="RESULTS",
        dest="source",
    ),
    _argument("runs", "clean", "runs whose stacks go, by id or results folder", "*", str),
)

OPTIONS = (
    *(*_SELECTION, *_RUNNING, *_STACK, *_CONTAINERS, *_WALK),
    *(*_GROUND, *_PAGE, *_ORIGIN, *_CHECKING),
    *(*_S3, *_KEEPING, *_COMMANDS),
)
"""In the order of the help."""


def options_of(session: str) -> list[Option]:
    """Return the options of one session, in the order of its help."""
    return [option for option in OPTIONS if session in option.sessions]


def option_of(session: str, name: str) -> Option:
    """Return an option of a session by its name; KeyError when there is none."""
    return {option.name: option for option in options_of(session)}[name]
