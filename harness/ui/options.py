"""What ``nox -s ui`` and ``nox -s full`` are asked for, validated before anything starts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from harness.catalog.releases import Catalog, Service
from harness.catalog.selectors import select_services
from harness.core.expectations import Expectation
from harness.machine.dependencies import PINNED, Dependencies
from harness.machine.errors import InfraError, UsageError
from harness.machine.processes import HOST, why_not
from harness.stack.database.external import ExternalPostgres
from harness.stack.service import refs
from harness.stack.service.git import Clone
from harness.ui.assets import WHERE


@dataclass(frozen=True)
class UIOptions:
    """The options of one UI, validated.

    Attributes:
        given: the options that were given, as words of a command line, for the journal.
        origin_flags: what a rerun needs beside what is shown and chosen to take the same UI.
        source: the run whose kept stack is shown; None for the latest.
        database_url: an existing database to show instead.
        clone: where the UI backend comes from; None for published images.
        backend: as asked for: ``auto``, ``embedded`` or ``docker``.
        pull, registry, dockerfile: as in harness.stack.options.StackOptions.
        container_only: given options that nothing but containers of the UI heeds.
        service_deps: which versions of what they require backends from the clone have; None for
            what is pinned.
        versions: which UI backends, as text; None for the one that fits what is shown.
        assets: the built page, for a backend that runs as processes.
        image: an image with the page of its own; None for the page the backend's image brings.
        page_clone: the clone such an image is built from.
        port: of the page, on 127.0.0.1; None for one the system chooses.
        whole: start as many workers as a backend does unasked.
        triggers: let the backend make its triggers in the database.
        check: judge what the UI shows, and end.
        detach: leave it running.
        clients: names of the clients whose runs are looked for; empty for all there are.
        run: the one run that is looked for, ``FLOW/RUN``; None for all of the sample.
        expectations: declared known failures.
        expectations_file: where they were declared.
        results: folder for the results of runs.
    """

    given: tuple[str, ...]
    origin_flags: tuple[str, ...]
    source: str | None
    database_url: str | None
    clone: Clone | None
    backend: str
    pull: str
    registry: str
    dockerfile: str
    container_only: tuple[str, ...]
    service_deps: Dependencies | None
    versions: str | None
    assets: Path | None
    image: str | None
    page_clone: Clone | None
    port: int | None
    whole: bool
    triggers: bool
    check: bool
    detach: bool
    clients: tuple[str, ...]
    run: str | None
    expectations: tuple[Expectation, ...]
    expectations_file: Path
    results: Path


def available_versions(options: UIOptions, catalog: Catalog) -> tuple[Service, ...]:
    """Return the released services that have a UI backend, in version order."""
    found = catalog.released
    if options.clone is not None:
        found = tuple(one for one in found if one.ref in options.clone.tags)
    return tuple(one for one in found if has_ui(one))


def select_versions(
    options: UIOptions, catalog: Catalog, *, images: bool, last: str
) -> tuple[Service, ...]:
    """Return the services whose UI backends are asked for, in version order.

    Args:
        options: of the UI.
        catalog: what versions.json holds.
        images: whether released ones are taken as published images.
        last: name of the service that used the database last: unasked it is its UI that is
            shown, if it has one, else the latest.

    Raises:
        UsageError: for a version that is not there, or has no UI.
    """
    text = options.versions
    if text is None:
        names = {one.name for one in available_versions(options, catalog)}
        in_clone = options.clone is not None and options.clone.resolve(last) is not None
        text = last if last in names or in_clone else "latest"
    try:
        if options.clone is not None:
            found = refs.select_from_clone(options.clone, catalog, text, images=images)
        else:
            found = select_services(catalog, text, "released")
    except UsageError as error:
        raise UsageError(f"--ui-version takes releases of the service: {error}") from error
    deps = options.service_deps or PINNED
    chosen = tuple(replace(one, deps=deps) for one in found if has_ui(one))
    if not chosen:
        oldest = next(one.name for one in catalog.released if has_ui(one))
        raise UsageError(f"--ui-version {text}: it has no UI; the first that has one is {oldest}")
    return chosen


def has_ui(service: Service) -> bool:
    """Tell whether a service comes with a UI backend."""
    return service.layout is not None and service.layout.ui is not None


def needs_processes(options: UIOptions, kept_backend: str, engine: Callable[[], str]) -> str:
    """Return why the UI has to run as processes; empty where it runs in containers.

    Args:
        options: of the UI.
        kept_backend: of the run whose stack is shown; empty for another database.
        engine: describes the Docker engine that answers, or raises InfraError.

    Raises:
        UsageError: for processes without a clone or without the page, or with options that only
            containers heed.
        InfraError: for containers without an engine.
    """
    why = _why_processes(options, kept_backend, engine)
    if not why:
        return ""
    if options.clone is None:
        raise UsageError(
            "without containers the UI backend comes from a clone of Netflix/metaflow-service:"
            f" --checkout PATH|URL ({why})"
        )
    if options.assets is None:
        raise UsageError(
            f"without containers the page comes from --ui-assets PATH ({why}): {WHERE}"
        )
    if options.container_only:
        raise UsageError(
            f"{options.container_only[0]} needs containers, and the UI runs as processes: {why}"
        )
    return why


_CERTIFICATES = "the certificates of --database-url are files of this machine"


def _why_processes(options: UIOptions, kept_backend: str, engine: Callable[[], str]) -> str:
    of_containers = {"--ui-image": options.image, "--ui-checkout": options.page_clone}
    given = [option for option, value in of_containers.items() if value]
    if given and options.backend == "embedded":
        raise UsageError(f"{given[0]} needs containers, which --backend embedded rules out")
    needed = bool(given) or options.backend == "docker"
    certificates = bool(options.database_url and _has_files(options.database_url))
    # What only processes can have; why; and why there is no other way where containers are needed.
    for asked, why, refused in (
        (
            options.service_deps is not None,
            "--service-deps is given",
            "--service-deps is for backends that run as processes, not in containers",
        ),
        (
            options.assets is not None,
            "--ui-assets is given",
            (
                "--ui-assets is for backends that run as processes; in containers the page comes"
                " with the image, or from --ui-image"
            ),
        ),
        (certificates, _CERTIFICATES, f"{_CERTIFICATES}, and no container has them"),
    ):
        if asked and needed:
            raise UsageError(refused)
        if asked and options.backend != "embedded":
            return why
    if options.backend == "embedded":
        return "asked for"
    try:
        engine()
    except InfraError as error:
        # Containers that were kept cannot be shown without the engine they are on.
        if needed or kept_backend == "docker":
            raise
        return str(error)
    return ""


def _has_files(database_url: str) -> bool:
    tls = ExternalPostgres(database_url).address.tls
    return tls is not None and bool(tls.files)


def check_port(port: int) -> None:
    """Raise UsageError when nothing can listen on a port of 127.0.0.1."""
    why = why_not(port, HOST)
    if why:
        raise UsageError(f"--ui-port {port}: the port cannot be used: {why}; name another")
