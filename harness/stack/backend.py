"""A backend: one origin of databases and one of services that go together."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from harness.catalog.versions import load
from harness.core.axes import Point
from harness.core.scenarios import awkward_beginning, description_of
from harness.core.told import MODES
from harness.stack.containers.engine import Engine, find_engine
from harness.stack.containers.images import Images
from harness.stack.containers.own import Belongings
from harness.stack.database.binaries import majors_with_tls
from harness.stack.database.container import ContainerPostgres
from harness.stack.database.embedded import EmbeddedPostgres
from harness.stack.database.external import ExternalPostgres
from harness.stack.database.server import (
    Database,
    DatabaseServer,
    database_variables,
    ignore_variables,
)
from harness.stack.database.tls import Certificates
from harness.stack.options import StackOptions
from harness.stack.service.checkout import CheckoutLauncher
from harness.stack.service.container import ContainerLauncher
from harness.stack.service.external import ExternalLauncher
from harness.stack.service.image import Builder
from harness.stack.service.launcher import Launcher
from harness.stack.service.reference import ReferenceLauncher
from harness.stack.store.container import ContainerS3

DATABASES = "databases"
"""The beginning of the marks of a run's own servers of databases, below the run's id."""

DATABASE_FOLDERS = "postgres*"
"""Pattern of the folders of embedded databases below that of what a run works with."""


def _nothing() -> None:
    """Do nothing: the parts of some backends leave nothing behind."""


@dataclass(frozen=True)
class Backend:
    """What stacks are made of.

    Attributes:
        why: the sentence on which backend this is and why it was taken; printed first.
        by_variant: where databases are made, by the PostgreSQL and the mode of TLS that were asked
            for, and by the scenario that chooses their password; each is started when the first
            asks for one.
        existing: the database of ``--database-url``; None when each is made by the run.
        secrets: strings that must never be recorded.
        object_store: the S3 server of ``--s3-image``; None without it.
        outlives: whether its parts can run on when this process has ended (``--keep``).
        cancel: ends all parts at once, so that whoever waits for one of them stops waiting.
        close: removes whatever is left of the run, when all parts are stopped.
    """

    name: str
    why: str
    by_variant: Mapping[tuple[str, str, str], DatabaseServer]
    launcher: Launcher
    existing: Database | None
    secrets: tuple[str, ...]
    object_store: ContainerS3 | None = None
    outlives: bool = False
    cancel: Callable[[], None] = _nothing
    close: Callable[[], None] = _nothing

    @property
    def servers(self) -> tuple[DatabaseServer, ...]:
        """Every server."""
        return tuple(self.by_variant.values())

    def server(self, point: Point) -> DatabaseServer:
        """Return the server that has the databases of a cell."""
        return self.by_variant[point.postgres, point.database_tls, _of_password(point.scenario)]


def choose_backend(
    options: StackOptions, folder: Path, run_id: str, say: Callable[[str], None]
) -> Backend:
    """Return the backend the options ask for; nothing is started.

    Args:
        options: of the run.
        folder: of the run.
        run_id: marks the processes and labels the containers.
        say: prints a line.

    Raises:
        UsageError: for a backend that cannot be had.
        InfraError: when the Docker engine has gone meanwhile.
    """
    if options.backend == "docker":
        return _containers(options, folder, run_id, say)
    if options.service_url is not None:
        return _external(options.service_url, options.database_url)
    return _processes(options, folder / "work", run_id)


def _containers(
    options: StackOptions, folder: Path, run_id: str, say: Callable[[str], None]
) -> Backend:
    ignore_variables()
    engine = find_engine()
    belongings = Belongings(engine, run_id, keep=options.keep)
    images = Images(engine, options.pull, options.registry, say)
    passwords = _passwords(options)
    wanted = options.postgres_images
    databases = {
        (variant, tls, scenario): ContainerPostgres(
            belongings,
            images,
            image,
            folder / "logs" / f"{_named('postgres', variant, tls, scenario)}.log",
            user=options.database_user,
            password=password,
            port=options.database_port,
            host=(host := _named("database", variant, tls, scenario)),
            certificates=_certificates(folder / "work", variant, tls, host, scenario=scenario),
        )
        for (variant, image), tls, (scenario, password) in product(
            wanted.items(), options.database_tls, passwords.items()
        )
    }
    object_store = _object_store(options, belongings, images, folder)
    needed = [*wanted.values(), *([options.s3_image] if options.s3_image else [])]
    launcher = ContainerLauncher(
        belongings,
        images,
        first=needed,
        builder=_builder(options, engine, belongings, folder),
        remove_images=options.remove_images,
    )

    def close() -> None:
        belongings.remove_all()
        # After the containers, which hold their images.
        if options.remove_images:
            images.remove_all()
        engine.close()

    why = (
        f"backend: docker ({options.backend_why}): {', '.join(wanted.values())} and"
        f" {launcher.description}{_told(options)}"
    )
    return Backend(
        "docker",
        why,
        databases,
        launcher,
        None,
        (*passwords.values(), *((options.clone.secret,) if options.clone else ())),
        object_store=object_store,
        outlives=True,
        cancel=belongings.kill,
        close=close,
    )


def _object_store(
    options: StackOptions, belongings: Belongings, images: Images, folder: Path
) -> ContainerS3 | None:
    if options.s3_image is None:
        return None
    known = load().s3_image(options.s3_image)
    log = folder / "logs" / "services" / "s3.log"
    return ContainerS3(belongings, images, options.s3_image, known, log)


def _builder(
    options: StackOptions, engine: Engine, belongings: Belongings, folder: Path
) -> Builder | None:
    if options.clone is None:
        return None
    logs = folder / "logs" / "builds"
    return Builder(engine, belongings, options.clone, options.dockerfile, logs)


def _external(service_url: str, database_url: str | None) -> Backend:
    launcher = ExternalLauncher(service_url)
    if database_url is None:
        why = f"backend: {launcher.description}; its rows are not seen: no --database-url"
        return Backend("external", why, {}, launcher, None, ())
    server = ExternalPostgres(database_url)
    existing = server.existing()
    why = f"backend: {launcher.description}, and {server.description}"
    return Backend("external", why, {}, launcher, existing, (existing.address.password,))


def _processes(options: StackOptions, folder: Path, mark: str) -> Backend:
    launcher = _launcher(options, mark)
    # A clone's URL may hold a token, and git may repeat it in what it prints.
    hidden = (options.clone.secret,) if options.clone else ()
    if options.database_url is not None:
        external = ExternalPostgres(options.database_url)
        existing = external.existing()
        why = f"backend: {external.description}, and the {launcher.description}"
        if used := database_variables():
            why += f"; of the environment the harness uses {', '.join(used)}"
        password = existing.address.password
        return Backend(
            "external", why, {("", "", ""): external}, launcher, existing, (password, *hidden)
        )
    ignore_variables()
    passwords = _passwords(options)
    databases = {
        (variant, tls, scenario): EmbeddedPostgres(
            folder / (name := _named("postgres", variant, tls, scenario)),
            # A mark of its own: what starts one again must not end the others.
            f"{mark}/{DATABASES}/{name}",
            binaries=variant or (majors_with_tls()[-1] if tls else ""),
            port=options.database_port,
            user=options.database_user,
            password=password,
            certificates=_certificates(folder, variant, tls, scenario=scenario),
        )
        for variant, tls, (scenario, password) in product(
            options.postgres, options.database_tls, passwords.items()
        )
    }
    postgres = " ".join(["PostgreSQL", " and ".join(filter(None, options.postgres))]).strip()
    why = f"backend: embedded ({options.backend_why}): {postgres} and the {launcher.description}"
    why += _told(options)
    return Backend("embedded", why, databases, launcher, None, (*passwords.values(), *hidden))


def _of_password(scenario: str) -> str:
    """Return a scenario that chooses the password of its database; empty for all others."""
    return scenario if awkward_beginning(scenario) else ""


def _passwords(options: StackOptions) -> dict[str, str]:
    """Return the passwords of databases, by the scenarios that choose one; an empty one for all."""
    # Random, because every user of this machine reaches the ports; and else URL-safe: before 2.0.6
    # the service breaks on quotes and # (https://github.com/Netflix/metaflow-service/issues/152).
    return {
        name: options.database_password or awkward_beginning(name) + secrets.token_urlsafe(16)
        for name in map(_of_password, options.scenarios)
    }


def _told(options: StackOptions) -> str:
    """Return what is said of scenarios and of TLS; empty where none is asked for."""
    said = [f"scenario {one}: {description_of(one)}" for one in filter(None, options.scenarios)]
    said += [f"TLS {mode}: {MODES[mode]}" for mode in filter(None, options.database_tls)]
    return "".join(f"; {one}" for one in said)


def _certificates(
    work: Path, variant: str, tls: str, *names: str, scenario: str = ""
) -> Certificates | None:
    """Return the certificates of a PostgreSQL of the run; None where no TLS is asked for."""
    return Certificates(work / _named("tls", variant, tls, scenario), tls, names) if tls else None


def _named(what: str, *variants: str) -> str:
    """Return a name of the part of a run that is of some variants: a folder's, a host's."""
    parts = (re.sub(r"[^a-z0-9]+", "-", variant.lower()).strip("-") for variant in variants)
    return "-".join(filter(None, [what, *parts]))


def _launcher(options: StackOptions, mark: str) -> Launcher:
    if options.clone is None:
        return ReferenceLauncher(mark)
    catalog = load()
    return CheckoutLauncher(
        options.clone,
        catalog.service_requirements,
        catalog.service_pythons,
        mark,
    )
