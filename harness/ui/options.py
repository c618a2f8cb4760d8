"""What ``nox -s ui`` and ``nox -s full`` are asked for, validated before anything starts."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import expectations
from harness.cli.declared import PORT_OF_UI
from harness.cli.lines import carried
from harness.cli.parser import build_parser, for_containers
from harness.database.external import ExternalPostgres
from harness.errors import InfraError, UsageError, about
from harness.expectations import Expectation
from harness.probes import FLOWS, find_probes
from harness.processes import HOST, is_free
from harness.selectors import select_clients, select_services
from harness.service import refs
from harness.service.git import Clone, open_clone
from harness.ui.assets import WHERE, check_assets
from harness.ui.checks import UI_CHECKS
from harness.versions import Catalog, Service


@dataclass(frozen=True)
class UIOptions:
    """The options of one UI, validated.

    Attributes:
        given: the options that were given, as words of a command line, for the journal.
        references: by the name of an option, what a line holds in place of its secret.
        source: the run whose kept stack is shown; None for the latest.
        database_url: an existing database to show instead.
        clone: where the UI backend comes from; None for published images.
        backend: as asked for: ``auto``, ``embedded`` or ``docker``.
        pull, registry, dockerfile: as in harness.cli.options.Options.
        container_only: given options that nothing but containers of the UI heeds.
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
    references: Mapping[str, str]
    source: str | None
    database_url: str | None
    clone: Clone | None
    backend: str
    pull: str
    registry: str
    dockerfile: str
    container_only: tuple[str, ...]
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

    @property
    def origin_flags(self) -> list[str]:
        """What a rerun needs beside what is shown and chosen to take the same UI."""
        # What only containers heed is refused where the UI is not in them.
        return carried("ui", self, self.references, backend="docker", datastore="")


def parse_ui(arguments: Sequence[str], catalog: Catalog) -> UIOptions:
    """Parse and validate what follows ``--`` for ``nox -s ui``.

    Raises:
        UsageError: for the first thing that is wrong: what, where, the nearest valid choice.
        SystemExit: after printing, for ``--help``.
    """
    raw = build_parser("ui").read(arguments)
    clone = None if raw.checkout is None else open_clone(raw.checkout)
    with about("--metaflow"):
        clients = select_clients(catalog, raw.metaflow) if raw.metaflow else ()
    if raw.database_url is not None:
        ExternalPostgres(raw.database_url)  # its shape is checked; it is reached later
    # A walk over other probes may have had failures of theirs declared in the same file.
    probes = find_probes(FLOWS).values()
    declared = expectations.load(catalog, probes, raw.expectations, UI_CHECKS, of_ui_only=True)
    names = tuple(one.name for one in clients)
    unheeded = [option.name for option in for_containers(raw)]
    return ui_options(raw, catalog, clone, declared, clients=names, container_only=unheeded)


def ui_options(
    raw: argparse.Namespace,
    catalog: Catalog,
    clone: Clone | None,
    declared: tuple[Expectation, ...],
    *,
    clients: tuple[str, ...] = (),
    container_only: Sequence[str] = (),
) -> UIOptions:
    """Validate the options of the UI among those of a session.

    Args:
        raw: as parsed.
        catalog: what there is to select from.
        clone: of ``--checkout``.
        declared: known failures.
        clients: of ``--metaflow``, where it chooses among the runs that are judged.
        container_only: given options that nothing but containers of the UI heeds.

    Raises:
        UsageError: for the first thing that is wrong.
    """
    if raw.ui_assets is not None:
        check_assets(raw.ui_assets)
    options = UIOptions(
        given=raw.given,
        references=raw.references,
        source=raw.source,
        database_url=raw.database_url,
        clone=clone,
        backend=raw.backend,
        pull=raw.pull,
        registry=raw.registry,
        dockerfile=raw.dockerfile,
        container_only=tuple(container_only),
        versions=raw.ui_version,
        assets=raw.ui_assets and raw.ui_assets.resolve(),
        image=raw.ui_image,
        page_clone=None if raw.ui_checkout is None else open_clone(raw.ui_checkout),
        port=raw.ui_port if raw.check else raw.ui_port or PORT_OF_UI,
        whole=raw.ui_full,
        triggers=raw.ui_triggers,
        check=raw.check,
        detach=raw.detach,
        clients=clients,
        run=raw.run,
        expectations=declared,
        expectations_file=raw.expectations.resolve(),
        results=raw.results.resolve(),
    )
    if options.versions is not None:
        chosen = select_versions(options, catalog, images=True, last="")
        if len(chosen) > 1 and not options.check:
            raise UsageError(
                f"--ui-version {options.versions} selects {len(chosen)} UIs: only --check takes"
                " several, one after the other"
            )
    return options


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
    chosen = tuple(one for one in found if has_ui(one))
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


def _why_processes(options: UIOptions, kept_backend: str, engine: Callable[[], str]) -> str:
    of_containers = {"--ui-image": options.image, "--ui-checkout": options.page_clone}
    given = [option for option, value in of_containers.items() if value]
    if given and options.backend == "embedded":
        raise UsageError(f"{given[0]} needs containers, which --backend embedded rules out")
    needed = bool(given) or options.backend == "docker"
    if needed and options.assets is not None:
        raise UsageError(
            "--ui-assets is for backends that run as processes; in containers the page comes"
            " with the image, or from --ui-image"
        )
    if options.backend == "embedded":
        return "asked for"
    if options.assets is not None:
        return "--ui-assets is given"
    try:
        engine()
    except InfraError as error:
        if needed or kept_backend == "docker":
            raise
        return str(error)
    return ""


def check_port(port: int) -> None:
    """Raise UsageError when nothing can listen on a port of 127.0.0.1."""
    if not is_free(port, HOST):
        raise UsageError(f"--ui-port {port}: the port is taken; name another with --ui-port")
