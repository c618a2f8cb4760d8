"""What one run is asked for, validated."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.catalog.releases import Client, Service
from harness.client.development import Wheel
from harness.core.expectations import Expectation
from harness.core.pairs import Roles
from harness.core.path import Step
from harness.core.probes import Probe
from harness.core.sharding import Shard
from harness.machine.dependencies import Dependencies
from harness.stack.options import StackOptions
from harness.stack.service.git import Clone


@dataclass(frozen=True)
class Options(StackOptions):
    """The options of one run.

    Attributes:
        session: ``compat``, ``cross``, ``fixed_db``, ``chaos`` or ``local``.
        given: the options that were given, as words of a command line, for the journal.
        references: by the name of an option, what a line holds in place of its secret.
        metaflow_checkout: where clients under development come from; None for nowhere.
        packages: requirements that are installed beside the clients.
        deps: which versions of what they require clients have.
        timeout: seconds a cell may take.
        repeat: how often each cell runs.
        retries: how often a cell, or a stage of a walk, that the machine broke is done again.
        reuse: whether results of earlier runs are taken instead of running.
        no_dedupe: whether services of the same code are each run.
        resumed: results folder of the run that goes on; None for a run that begins.
        plan: how the plan is printed, ``text``, ``json`` or ``github``; None for a run that does
            something.
        pairs: who reads and resumes what whom wrote, in ``cross``; empty in other sessions.
        path: the stages of a fixed-database walk; empty in other sessions.
        seed: of a random path; None for every other.
        selection: services as they were asked for; None for the default.
        on_failure: what a walk does after a migration that failed: ``next`` or ``stop``.
        migration_timeout: seconds a migration of a walk may take.
        gates: what of ``GATES`` turns the run red; None for none.
        allow_existing: whether the database of ``--database-url`` may have something in it.
        shard: which part of the plan this run does; None for all of it.
        durations: results that tell how long cells take; None where they count the same.
        strategy: ``boundaries`` where only the cells run that tell where checks change; None for
            all of them.
        verify: how many cells that are inferred run in the end.
        verify_seed: which ones; None for any.
        scheduler: address of the Dask cluster whose workers do the units; None for this machine.
        elsewhere: what follows ``--`` of the runs that its workers do.
        ui_assets: the page that a UI over what is kept would take; None for none given.
    """

    session: str
    given: tuple[str, ...]
    references: Mapping[str, str]
    clients: tuple[Client, ...]
    metaflow_checkout: Clone | Wheel | None
    services: tuple[Service, ...]
    probes: tuple[Probe, ...]
    packages: tuple[str, ...]
    deps: tuple[Dependencies, ...]
    flow_dir: Path
    expectations: tuple[Expectation, ...]
    expectations_file: Path
    jobs: int
    timeout: float
    repeat: int
    retries: int
    reuse: bool
    no_dedupe: bool
    with_service_logs: bool
    results: Path
    resumed: Path | None
    plan: str | None
    pairs: tuple[Roles, ...]
    path: tuple[Step, ...]
    seed: int | None
    selection: str | None
    on_failure: str
    migration_timeout: float
    gates: tuple[str, ...] | None
    allow_existing: bool
    ui_assets: Path | None
    shard: Shard | None = None
    durations: Path | None = None
    strategy: str | None = None
    verify: int = 0
    verify_seed: int | None = None
    scheduler: str | None = None
    elsewhere: tuple[str, ...] = ()


def value_in(words: Iterable[str], name: str) -> str | None:
    """Return the value of an option among the words of a command line; None without it."""
    found = iter(words)
    for word in found:
        option, separator, value = word.partition("=")
        if option == name:
            return value if separator else next(found, "")
    return None
