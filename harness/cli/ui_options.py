"""What follows ``--`` of ``nox -s ui``, and what of ``nox -s full`` is about the UI, validated."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace

from harness.catalog.releases import Catalog
from harness.catalog.selectors import select_clients
from harness.cli.declarations.ui import PORT_OF_UI
from harness.cli.lines import carried
from harness.cli.parser import build_parser, for_containers
from harness.core import expectations
from harness.core.expectations import Expectation
from harness.core.probes import FLOWS, find_probes
from harness.machine.dependencies import Dependencies, parse_dependencies
from harness.machine.errors import UsageError, about
from harness.proof.ui.checks import UI_CHECKS
from harness.stack.database.external import ExternalPostgres
from harness.stack.service.git import Clone, open_clone
from harness.ui.assets import check_assets
from harness.ui.options import UIOptions, select_versions


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


def _service_deps(text: str | None) -> Dependencies | None:
    """Return the dependencies of a UI backend; None for what is pinned."""
    if text is None:
        return None
    first, *more = parse_dependencies("--service-deps", text)
    if more:
        raise UsageError(f"--service-deps {text}: a UI backend has one of them")
    return first if first.name else None


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
        origin_flags=(),
        source=raw.source,
        database_url=raw.database_url,
        clone=clone,
        backend=raw.backend,
        pull=raw.pull,
        registry=raw.registry,
        dockerfile=raw.dockerfile,
        container_only=tuple(container_only),
        service_deps=_service_deps(raw.service_deps),
        versions=raw.ui_version,
        assets=raw.ui_assets and raw.ui_assets.resolve(),
        image=raw.ui_image,
        page_clone=raw.ui_checkout and open_clone(raw.ui_checkout, "--ui-checkout"),
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
    # What only containers heed is refused where the UI is not in them.
    flags = carried("ui", options, raw.references, backend="docker", datastore="")
    return replace(options, origin_flags=tuple(flags))
