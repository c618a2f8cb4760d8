"""What follows ``--``, validated whole: a clone is opened, and who knows is asked for an engine."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product

from harness.catalog.releases import Catalog, Service
from harness.catalog.selectors import select_services
from harness.cli.asked import FULL
from harness.cli.declared import options_of
from harness.cli.draft import Draft, read, scenarios_of
from harness.cli.elsewhere import words_elsewhere
from harness.cli.option import listed
from harness.cli.parser import for_containers
from harness.cli.postgres import of_folders, variants_of
from harness.cli.ui_options import ui_options
from harness.client.development import find_clients, open_metaflow
from harness.core.pairs import make_pairs
from harness.core.path import Step, given, moving, random_path, straight
from harness.core.scenarios import awkward_beginning, of_containers
from harness.core.sharding import Shard
from harness.core.told import SINCE, why_not
from harness.machine.errors import InfraError, UsageError, about
from harness.run.options import Options
from harness.stack.service import refs
from harness.stack.service.external import find_external
from harness.stack.service.git import Clone, open_clone
from harness.ui.options import UIOptions, check_port, needs_processes

_NOT_LOOKED_FOR = "no engine was looked for"


def parse(
    session: str,
    arguments: Sequence[str],
    catalog: Catalog,
    engine: Callable[[], str] | None = None,
) -> Options:
    """Parse and validate what follows ``--`` for one session.

    Args:
        session: its name.
        arguments: what follows ``--``.
        catalog: what there is to select from.
        engine: describes the Docker engine that answers, or raises InfraError saying why none
            does; None for a session that needs none, where no engine is looked for.

    Raises:
        InfraError: for ``--backend docker`` when no engine answers.
        UsageError: for the first thing that is wrong: what, where, the nearest valid choice.
        SystemExit: after printing, for ``--help``.
    """
    draft = read(session, arguments, catalog)
    return _options(session, draft, catalog, engine)


def parse_full(
    arguments: Sequence[str], catalog: Catalog, engine: Callable[[], str] | None = None
) -> tuple[Options, UIOptions]:
    """Parse and validate what follows ``--`` for ``full``: of the walk, and of the UI after it.

    Args and errors are those of ``parse``.
    """
    draft = read(FULL, arguments, catalog)
    options = _options(FULL, draft, catalog, engine)
    return options, _ui(draft, catalog, options, engine)


# Options that are what they are on the command line.
_AS_GIVEN = (
    *("given", "references", "pull", "registry"),
    *("remove_images", "dockerfile", "timeout"),
    *("repeat", "retries", "reuse", "no_dedupe", "database_name"),
    *("database_user", "database_password", "database_port", "with_service_logs"),
    *("plan", "seed", "on_failure", "migration_timeout"),
    *("database_url", "allow_existing"),
    *("strategy", "verify", "verify_seed", "scheduler"),
)


def _options(
    session: str, draft: Draft, catalog: Catalog, engine: Callable[[], str] | None
) -> Options:
    raw = draft.raw
    clone = None if raw.checkout is None else open_clone(raw.checkout)
    place = None if raw.metaflow_checkout is None else open_metaflow(raw.metaflow_checkout)
    clients = find_clients(draft.clients, place, catalog)
    backend, why = _backend(raw, engine) if session != "local" else ("none", "")
    _check_heeded(raw, backend, why)
    named = raw.path is not None

    def find(text: str | None) -> tuple[Service, ...]:
        if raw.service_url is not None:
            return (find_external(raw.service_url),)
        with about("--path" if named else "--service"):
            found = _services(catalog, clone, backend, text, session)
        return tuple(replace(one, deps=deps) for one, deps in product(found, draft.service_deps))

    services = () if named or session == "local" else find(raw.service)
    postgres = variants_of(raw, backend, catalog.postgres.tags)
    path = _path(raw, services, find, postgres) if session in {"fixed_db", FULL} else ()
    modes = listed(raw.database_tls)
    scenarios = scenarios_of(raw)
    _check_servers(raw, modes, scenarios)
    _check_told(raw, path, scenarios)
    return Options(
        **{name: getattr(raw, name) for name in _AS_GIVEN},
        session="fixed_db" if session == FULL else session,
        jobs=1 if session == "chaos" else raw.jobs,
        scenarios=scenarios,
        clients=clients,
        metaflow_checkout=place,
        services=tuple(dict.fromkeys(step.service for step in path)) if path else services,
        probes=draft.probes,
        flow_dir=raw.flow_dir.resolve(),
        expectations=draft.expectations,
        expectations_file=raw.expectations.resolve(),
        datastores=draft.datastores,
        backend=backend,
        backend_why=why,
        # What names each PostgreSQL leaves no other for a line to carry.
        postgres_image=None
        if postgres != ("",)
        else _postgres_image(raw.postgres_image or catalog.postgres.default),
        clone=clone,
        packages=tuple((raw.packages or "").split()),
        postgres=postgres,
        database_tls=modes or ("",),
        postgres_upgrade=raw.postgres_upgrade is not None,
        deps=draft.deps,
        s3_root=draft.s3_root,
        s3_endpoint=draft.s3_endpoint,
        s3_image=raw.s3_image and _s3_image(raw.s3_image),
        # The UI of ``full`` is deployed over what its walk leaves.
        keep=raw.keep or session == FULL,
        results=raw.results.resolve(),
        resumed=raw.resume,
        pairs=make_pairs(raw.pairs, clients) if session == "cross" else (),
        path=path,
        selection=raw.service,
        gates=listed(raw.gate) or None,
        service_url=raw.service_url and raw.service_url.rstrip("/"),
        shard=_shard(raw),
        durations=raw.durations,
        ui_assets=raw.ui_assets.resolve() if session == FULL and raw.ui_assets else None,
        elsewhere=words_elsewhere(session, raw, backend, draft.s3_root, draft.s3_endpoint),
    )


def _shard(raw: argparse.Namespace) -> Shard | None:
    shard = None if raw.shard is None else Shard.parse(raw.shard)
    if raw.plan == "github" and (shard is None or shard.number):
        raise UsageError("--plan github needs --shard N: how many jobs to make of the plan")
    if raw.plan != "github" and shard is not None and not shard.number:
        raise UsageError(f"--shard {shard}: which of them? name one, such as 1/{shard}")
    return shard


def _ui(
    draft: Draft, catalog: Catalog, walk: Options, engine: Callable[[], str] | None
) -> UIOptions:
    """Return the options of the UI that follows a walk, with what it needs checked before.

    Args:
        draft: of the walk, whose expectations are of its probes, too.
        catalog: what there is to select from.
        walk: its options.
        engine: describes the engine.
    """

    def describe() -> str:
        if engine is None:
            raise InfraError(_NOT_LOOKED_FOR)
        return engine()

    options = ui_options(draft.raw, catalog, walk.clone, draft.expectations)
    needs_processes(options, walk.backend, describe)
    if options.port is not None:
        check_port(options.port)
    return options


def _backend(raw: argparse.Namespace, engine: Callable[[], str] | None) -> tuple[str, str]:
    """Return the backend and why it is that one."""
    embedded_only = [option.name for option in raw.named if option.backend == "embedded"]
    embedded_only += of_folders(raw)
    # A password is a container's, too, where containers are asked for by name.
    if raw.backend == "docker" and all(map(of_containers, scenarios_of(raw))):
        embedded_only = [name for name in embedded_only if name != "--scenario"]
    if raw.backend == "embedded":
        return "embedded", "asked for"
    if raw.scheduler is not None:
        # What its workers have nobody knows here.
        return "docker" if raw.backend == "docker" else "embedded", "asked for"
    if engine is None:
        return "embedded", _NOT_LOOKED_FOR
    if embedded_only and raw.backend == "docker":
        raise UsageError(f"{embedded_only[0]} goes with --backend embedded, not with containers")
    if embedded_only:
        return "embedded", f"because of {embedded_only[0]}"
    try:
        found = engine()
    except InfraError as error:
        if raw.backend == "docker":
            raise
        return "embedded", str(error)
    why = "asked for" if raw.backend == "docker" else "a Docker engine answers"
    return "docker", f"{why}: {found}"


def _check_heeded(raw: argparse.Namespace, backend: str, why: str) -> None:
    """Refuse an option that only containers heed, where there are none."""
    if backend != "embedded" or why == _NOT_LOOKED_FOR:
        return
    # The UI that follows may be in containers where the walk is not.
    ui = options_of("ui") if raw.ui_image or raw.ui_checkout else []
    of_ui = {option.name for option in ui}
    for option in for_containers(raw):
        if option.name not in of_ui:
            raise UsageError(f"{option.name} needs containers, and the backend is embedded: {why}")


def _postgres_image(given: str) -> str:
    """Return the whole name of the database's image."""
    return given if re.search("[/:]", given) else f"postgres:{given}"


def _s3_image(given: str) -> str:
    """Return the whole name of the image of the S3 server."""
    return given if re.search(r"[:@][^/]*$", given) else f"{given}:latest"


def _path(
    raw: argparse.Namespace,
    services: Sequence[Service],
    find: Callable[[str], tuple[Service, ...]],
    postgres: Sequence[str],
) -> tuple[Step, ...]:
    moves = raw.postgres_upgrade is not None
    if raw.path is not None:
        names = [part.strip() for part in raw.path.split(",")]
        path = given([_one_service(find(name), name) for name in names], moves=moves)
    else:
        path = straight(services) if raw.seed is None else random_path(services, raw.seed)
    return moving(path, postgres) if moves else path


def _check_servers(raw: argparse.Namespace, modes: Sequence[str], scenarios: Sequence[str]) -> None:
    """Refuse several servers on one port."""
    of_passwords = {awkward_beginning(scenario) for scenario in scenarios}
    for name, value, servers in (
        ("--database-tls", raw.database_tls, modes),
        ("--scenario", raw.scenario, of_passwords),
    ):
        if len(servers) > 1 and raw.database_port is not None:
            raise UsageError(
                f"--database-port {raw.database_port}: one port, and {name} {value} has several"
            )


def _check_told(raw: argparse.Namespace, path: Sequence[Step], scenarios: Sequence[str]) -> None:
    """Refuse a walk through services that cannot be told of what is around them: it ends there."""
    for step, scenario in product(path, scenarios):
        if why := why_not(step.service, raw.database_tls or "", scenario):
            asked = "--database-tls" if raw.database_tls else "--scenario"
            value = raw.database_tls or raw.scenario
            raise UsageError(f"{asked} {value}: a walk {why}: --service '>={SINCE}'")


def _one_service(found: Sequence[Service], name: str) -> Service:
    if len(found) != 1:
        raise UsageError(f"--path: {name!r} is not one service; name each one, as in 2.0.4,2.5")
    return found[0]


def _services(
    catalog: Catalog, clone: Clone | None, backend: str, text: str | None, session: str
) -> tuple[Service, ...]:
    containers = backend == "docker"
    if clone is not None:
        wanted = refs.DEFAULT if text is None else text
        return refs.select_from_clone(clone, catalog, wanted, images=containers)
    if containers:
        # Each released code once is what a first run can take: about twenty images.
        return select_services(catalog, "groups" if text is None else text, "released")
    # A walk goes through all levels; for cells, two of a minor differ in little that clients use.
    unasked = {"compat": "minors", "cross": "latest", "chaos": "latest"}.get(session, "all")
    return select_services(catalog, unasked if text is None else text, "reference")
