"""What is shown by a UI, what the UI is made of, and what is checked of it."""

from __future__ import annotations

from dataclasses import replace
from operator import attrgetter
from pathlib import Path

from harness.cli.checks import port
from harness.cli.declarations.parts import (
    BACKEND,
    CHECKOUT,
    DOCKERFILE,
    PULL,
    REGISTRY,
    SERVICE_DEPS,
)
from harness.cli.declarations.running import DATABASE_URL, EXPECTATIONS, METAFLOW
from harness.cli.declarations.takers import SHOWS, UI
from harness.cli.option import Option, Role
from harness.stack.service.git import holds_secret

PORT_OF_UI = 8083
"""Where the UI is expected, by everything that is written about it."""

_CHOOSES = "{name} chooses among the runs that --check looks for; add --check"

_GROUND_GROUP = "what to show"
GROUND = (
    Option(
        "--from",
        UI,
        _GROUND_GROUP,
        "the stack that this run kept (its id or results folder)",
        Role.AXIS,
        unasked="the latest kept",
        metavar="RUN",
        excludes={"--database-url": ""},
        dest="source",
    ),
    replace(
        DATABASE_URL,
        sessions=UI,
        group=_GROUND_GROUP,
        help="this existing database",
        role=Role.AXIS,
        why="without its password, which PGPASSWORD gives",
        backend="",
    ),
)

_UI_GROUP = "the Metaflow UI"
PAGE = (
    Option(
        "--ui-version",
        SHOWS,
        _UI_GROUP,
        "service releases whose UI backend is started, selected as --service does; several only"
        " with --check",
        Role.AXIS,
        unasked="the one the database was left by, if it has a UI, else the latest",
        metavar="VERSIONS",
        attribute="versions",
    ),
    replace(
        SERVICE_DEPS,
        sessions=UI,
        group=_UI_GROUP,
        help="which versions of what it requires, Metaflow included, a UI backend from the checkout"
        " has, as processes: one of what --deps names",
        role=Role.CARRIED,
        default=None,
        unasked="pinned",
        metavar="pinned|release-day|latest|FILE",
        write=attrgetter("given"),
        backend="",
    ),
    Option(
        "--ui-assets",
        SHOWS,
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
        SHOWS,
        _UI_GROUP,
        "serve the page from this image of Netflix/metaflow-ui, in a container of its own",
        Role.CARRIED,
        metavar="IMAGE",
        attribute="image",
    ),
    Option(
        "--ui-checkout",
        SHOWS,
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
        SHOWS,
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
        SHOWS,
        _UI_GROUP,
        "as many workers as the backend has unasked: 44 processes, 2.2 GB",
        Role.CARRIED,
        kind=bool,
        default=False,
        attribute="whole",
    ),
    Option(
        "--ui-triggers",
        SHOWS,
        _UI_GROUP,
        "let the backend make triggers in the database, for news of runs as they come",
        Role.CARRIED,
        kind=bool,
        default=False,
        attribute="triggers",
    ),
    Option(
        "--check",
        SHOWS,
        _UI_GROUP,
        "look for a sample of runs of every client, by the API and in a browser, and end",
        Role.AXIS,
        kind=bool,
        default=False,
    ),
    Option(
        "--detach",
        SHOWS,
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
ORIGIN = (
    replace(
        BACKEND,
        sessions=UI,
        group=_ORIGIN_GROUP,
        help="where the UI backend comes from: processes of this machine (embedded), containers"
        " (docker), or containers where a Docker engine answers (auto)",
    ),
    replace(
        CHECKOUT,
        sessions=UI,
        group=_ORIGIN_GROUP,
        help="take the UI backend from this clone of Netflix/metaflow-service, as processes; with"
        " containers released ones are the published images, and an image is built of others",
    ),
    replace(PULL, sessions=UI, group=_ORIGIN_GROUP),
    replace(REGISTRY, sessions=UI, group=_ORIGIN_GROUP),
    replace(DOCKERFILE, sessions=UI, group=_ORIGIN_GROUP),
)

_CHECK_GROUP = "with --check"
CHECKING = (
    replace(
        METAFLOW,
        sessions=UI,
        group=_CHECK_GROUP,
        help="only runs of these clients",
        default=None,
        unasked="of every client that is in the database",
        needs={"--check": _CHOOSES},
        attribute="clients",
    ),
    Option(
        "--run",
        UI,
        _CHECK_GROUP,
        "only this run, which must be the newest of its kind",
        Role.AXIS,
        metavar="FLOW/RUN",
        needs={"--check": _CHOOSES},
    ),
    replace(EXPECTATIONS, sessions=UI, group=_CHECK_GROUP),
)
