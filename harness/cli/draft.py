"""Options as far as files alone tell them: no network, no Docker, no process is asked."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.catalog.releases import Catalog, Client
from harness.catalog.selectors import select_clients
from harness.cli.declarations.parts import FROM_A_CLONE
from harness.cli.declarations.running import DATASTORES
from harness.cli.declarations.takers import WALKS
from harness.cli.declared import option_of
from harness.cli.option import listed
from harness.cli.parser import build_parser
from harness.core import expectations
from harness.core.expectations import Expectation
from harness.core.probes import FLOWS, Probe, find_probes, packages_of, select_probes
from harness.core.scenarios import (
    NO_SCENARIO,
    WRONG_ORDER,
    awkward_beginning,
    fault_of,
    lost_answers,
    proxy_of,
)
from harness.machine.dependencies import Dependencies, parse_dependencies
from harness.machine.errors import UsageError, about, nearest
from harness.proof.declared import CHECKS as CONTRACT_CHECKS
from harness.proof.ui.checks import UI_CHECKS
from harness.stack.store.objects import S3Root, parse_endpoint


@dataclass(frozen=True)
class Draft:
    """The options of one run, validated as far as that asks nobody.

    Attributes:
        raw: as parsed.
        clients: those selected.
        pythons: the minor versions they are to run on; none for one that works for each.
        deps: which versions of what they require they have.
        service_deps: likewise of services of a checkout.
        probes: those selected.
        datastores: by name.
        expectations: known failures that are declared.
        s3_root: where the user wants S3 data; None for a server of the run's own.
        s3_endpoint: address of the server that has it; None for Amazon's.
    """

    raw: argparse.Namespace
    clients: tuple[Client, ...]
    pythons: tuple[str, ...]
    deps: tuple[Dependencies, ...]
    service_deps: tuple[Dependencies, ...]
    probes: tuple[Probe, ...]
    datastores: tuple[str, ...]
    expectations: tuple[Expectation, ...]
    s3_root: S3Root | None
    s3_endpoint: str | None


def read(session: str, arguments: Sequence[str], catalog: Catalog) -> Draft:
    """Parse what follows ``--`` for one session and validate what files alone can tell.

    Args:
        session: its name.
        arguments: what follows ``--``.
        catalog: what there is to select from.

    Raises:
        UsageError: for the first thing that is wrong: what, where, the nearest valid choice.
        SystemExit: after printing, for ``--help``.
    """
    parser = build_parser(session)
    raw = parser.read(arguments)
    if raw.resume is not None:
        # A journal takes imports that a listing does not need.
        from harness.cli.resume import resumed  # noqa: PLC0415

        raw = resumed(session, parser, raw)
    _check_scenario(session, raw)
    probes = find_probes(raw.flow_dir.resolve())
    datastores = _datastores(raw.datastore)
    _check_datastores(raw, datastores)
    with about("--metaflow"):
        clients = select_clients(catalog, raw.metaflow, refs=raw.metaflow_checkout is not None)
    # Variables of Metaflow may be set for other uses: an image that is named comes first.
    s3_root, s3_endpoint = (None, None) if raw.s3_image else _s3(raw, datastores)
    return Draft(
        raw=raw,
        clients=clients,
        pythons=listed(raw.python),
        deps=parse_dependencies("--deps", raw.deps),
        service_deps=_service_deps(session, raw.service_deps),
        probes=_probes(raw, probes),
        datastores=datastores,
        expectations=_expectations(raw.expectations, catalog, probes),
        s3_root=s3_root,
        s3_endpoint=s3_endpoint,
    )


def _service_deps(session: str, text: str) -> tuple[Dependencies, ...]:
    found = parse_dependencies("--service-deps", text)
    if session in WALKS and len(found) > 1:
        raise UsageError(
            f"--service-deps {text}: a walk takes one of them; compat and cross take several"
        )
    return found


def _probes(raw: argparse.Namespace, probes: Mapping[str, Probe]) -> tuple[Probe, ...]:
    """Return the probes that are asked for; unasked also those with a check of a package.

    Args:
        raw: the options, as parsed.
        probes: all there are.
    """
    chosen = select_probes(probes, raw.probe)
    if "--probe" in raw.texts:
        return chosen
    wanted = packages_of((raw.packages or "").split())
    about = (one for one in probes.values() if wanted & {check.package for check in one.checks})
    return tuple(dict.fromkeys((*chosen, *about)))


def _check_scenario(session: str, raw: argparse.Namespace) -> None:
    """Refuse a scenario without what it needs."""
    for asked in filter(None, scenarios_of(raw)):
        _check_one_scenario(session, raw, asked)


def _check_one_scenario(session: str, raw: argparse.Namespace, asked: str) -> None:
    if asked == WRONG_ORDER and raw.checkout is None:
        raise UsageError(FROM_A_CLONE.format(name="--scenario", value=asked))
    if awkward_beginning(asked):
        for name, given in (
            ("--database-password", raw.database_password),
            ("--database-url", raw.database_url),
        ):
            if given is not None:
                raise UsageError(
                    f"--scenario {asked} chooses the password itself; leave out {name}"
                )
    if session == "chaos":
        return
    of_chaos = fault_of(asked) is not None
    if of_chaos or ((lost_answers(asked) or proxy_of(asked)) and session != "compat"):
        goes_with = "chaos" if of_chaos else "compat"
        raise UsageError(f"--scenario {asked} goes with {goes_with}, not {session}")


def scenarios_of(raw: argparse.Namespace) -> tuple[str, ...]:
    """Return the scenarios that are asked for; an empty one for cells without."""
    named = tuple("" if one == NO_SCENARIO else one for one in listed(raw.scenario))
    return named or ("",)


def _check_datastores(raw: argparse.Namespace, datastores: Sequence[str]) -> None:
    """Refuse an option about a datastore that is not asked for."""
    for option in raw.named:
        if option.datastore not in {"", *datastores}:
            raise UsageError(f"{option.name} is of no use without --datastore {option.datastore}")


def _expectations(
    path: Path, catalog: Catalog, probes: Mapping[str, Probe]
) -> tuple[Expectation, ...]:
    known = list(probes.values())
    # The project's file speaks of the project's probes, whatever folder the run's are in.
    if any(probe.path.parent != FLOWS for probe in known):
        known += find_probes(FLOWS).values()
    return expectations.load(catalog, known, path, UI_CHECKS, contract_checks=CONTRACT_CHECKS)


def _datastores(text: str) -> tuple[str, ...]:
    names = listed(text)
    if not names:
        raise UsageError(f"--datastore: the list is empty; available: {', '.join(DATASTORES)}")
    for name in names:
        if name not in DATASTORES:
            raise UsageError(
                f"--datastore {name}: no such datastore{nearest(name, DATASTORES)};"
                f" available: {', '.join(DATASTORES)}"
            )
    return names


def _s3(raw: argparse.Namespace, datastores: Sequence[str]) -> tuple[S3Root | None, str | None]:
    """Return root and endpoint: as given, else as Metaflow's own variables say."""
    if "s3" not in datastores:
        return None, None
    root, endpoint = (_given_or_set(raw, name) for name in ("--s3-root", "--s3-endpoint"))
    if root is None:
        if raw.s3_endpoint is not None:
            raise UsageError("--s3-endpoint needs --s3-root s3://bucket/prefix")
        return None, None
    return S3Root.parse(*root), parse_endpoint(*endpoint) if endpoint else None


def _given_or_set(raw: argparse.Namespace, name: str) -> tuple[str, str] | None:
    """Return the value of an option and what it was named by, a variable too; None without one."""
    option = option_of("local", name)
    given: str | None = getattr(raw, option.dest)
    if given is not None:
        return given, name
    found = ((os.environ.get(variable), variable) for variable in option.variables)
    return next(((value, variable) for value, variable in found if value), None)
