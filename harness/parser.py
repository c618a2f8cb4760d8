"""The parser of what follows ``--``: every option of a run, in groups, with examples."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from harness import expectations
from harness.errors import UsageError, nearest
from harness.probes import FLOWS
from harness.service import refs
from harness.service.checkout import SCENARIOS
from harness.service.migration import MIGRATION_SECONDS
from harness.tools import ROOT

BACKENDS = ("auto", "embedded", "docker")
PULL_POLICIES = ("always", "missing", "never")
ON_FAILURE = ("next", "stop")
DATABASE = "metaflow"
"""The name of the database, and that of its owner, unasked."""
TIMEOUT = 300.0
"""Seconds."""
S3_ROOT_VARIABLE = "METAFLOW_DATASTORE_SYSROOT_S3"
S3_ENDPOINT_VARIABLE = "METAFLOW_S3_ENDPOINT_URL"

_EXAMPLES = {
    "compat": """examples:
  nox -s compat                                        the default clients × services
  nox -s compat -- --metaflow 2.2.1,2.2.2 --service '>=2.3'
  nox -s "compat(2.19.39)" -- --probe hello --jobs 1
  nox -s compat -- --plan                              print what would run, and stop""",
    "fixed_db": """examples:
  nox -s fixed_db                                      one database through every service
  nox -s fixed_db -- --metaflow 2.2.13,2.19.39
  nox -s fixed_db -- --path 2.0.4,2.5                  jump, as users do
  nox -s fixed_db -- --seed 4 --plan                   a random path with rollbacks""",
    "full": """examples:
  nox -s full                                          fixed_db, keep, then the UI
  nox -s full -- --checkout ../metaflow-service --ui-assets metaflow-ui-v1.3.14.zip""",
    "ui": """examples:
  nox -s ui                                            over what the last run kept
  nox -s ui -- --checkout ../metaflow-service --ui-assets metaflow-ui-v1.3.14.zip
  nox -s ui -- --check --ui-version 'v2.3.2,v2.5.1'    a grid for each of these UIs
  nox -s ui -- --database-url postgresql://USER:PASSWORD@HOST:PORT/DATABASE""",
    "local": """examples:
  nox -s local                                         the default clients, no service
  nox -s local -- --metaflow all --probe hello""",
}


class Parser(argparse.ArgumentParser):
    """A parser whose errors are ours: one sentence with the nearest valid choice."""

    def error(self, message: str) -> NoReturn:
        """Raise what argparse would print."""
        raise UsageError(f"{message}; see: {self.prog} --help")

    def known_options(self) -> list[str]:
        """Return every option's long name."""
        return [name for action in self._actions for name in action.option_strings]

    def read(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Parse the arguments.

        Raises:
            UsageError: for what is no option of this session, with what may have been meant, or a
                wrong value.
            SystemExit: after printing, for ``--help``.
        """
        raw, unknown = self.parse_known_args(list(arguments))
        if unknown:
            self.error(self._about(unknown[0]))
        return raw

    def _about(self, word: str) -> str:
        """Return what is wrong with a word that is no option of this session."""
        known = self.known_options()
        if not word.startswith("-"):
            by = [f"{what} by {option}" for option, what in _CHOSEN_BY.items() if option in known]
            return f"unexpected argument {word!r}; options select what runs: {', '.join(by)}"
        option = word.partition("=")[0]
        sessions = [name for name in _SESSIONS if option in _parser_of(name).known_options()]
        if sessions:
            return f"unknown option {option}: it goes with {', '.join(sessions)}"
        return f"unknown option {option}{nearest(option, known)}"


_SESSIONS = ("compat", "fixed_db", "full", "local", "ui")
_CHOSEN_BY = {"--metaflow": "clients", "--service": "services"}
_FOR_CONTAINERS = ("pull", "registry", "dockerfile", "remove_images", "postgres_image")


def for_containers(raw: argparse.Namespace) -> list[str]:
    """Return the options that were given and that nothing but containers heeds."""
    given = [name for name in _FOR_CONTAINERS if getattr(raw, name, None)]
    return [f"--{name.replace('_', '-')}" for name in given]


def build_parser(session: str) -> Parser:
    """Return the parser of one session's options, grouped, with examples."""
    parser = _parser(session)
    _add_selection(parser, session)
    _add_running(parser)
    if session != "local":
        _add_stack(parser)
        _add_containers(parser)
    if session in {"fixed_db", "full"}:
        _add_walk(parser)
    if session == "full":
        _add_ui(parser)
    _add_s3(parser, session)
    _add_results(parser)
    return parser


def _parser_of(session: str) -> Parser:
    return build_ui_parser() if session == "ui" else build_parser(session)


def build_ui_parser() -> Parser:
    """Return the parser of ``nox -s ui``."""
    parser = _parser("ui")
    ground = parser.add_argument_group("what to show").add_mutually_exclusive_group()
    ground.add_argument(
        "--from",
        dest="source",
        metavar="RUN",
        help="the stack that this run kept (its id or results folder; default: the latest kept)",
    )
    ground.add_argument("--database-url", metavar="URL", help="this existing database")
    _add_ui(parser)
    group = parser.add_argument_group("where it comes from")
    _add_backend(group, "the UI backend comes")
    group.add_argument(
        "--checkout",
        metavar="PATH|URL",
        help="take the UI backend from this clone of Netflix/metaflow-service, as processes; with"
        " containers released ones are the published images, and an image is built of others",
    )
    _add_images(group)
    group = parser.add_argument_group("with --check")
    group.add_argument(
        "--metaflow",
        "--versions",
        metavar="CLIENTS",
        help="only runs of these clients (default: of every client that is in the database)",
    )
    group.add_argument(
        "--run", metavar="FLOW/RUN", help="only this run, which must be the newest of its kind"
    )
    _add_expectations(group)
    _add_results_folder(parser.add_argument_group("results"))
    return parser


def _parser(session: str) -> Parser:
    return Parser(
        prog=f"nox -s {session} --",
        description="Everything after -- is read before anything starts.",
        epilog=_EXAMPLES.get(session, ""),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def _add_selection(parser: argparse.ArgumentParser, session: str) -> None:
    group = parser.add_argument_group("what to run")
    selector = (
        "all, minors (last patch of each minor), latest, a comma list, or ranges like '>=2.3'"
    )
    group.add_argument(
        "--metaflow", "--versions", default="minors", metavar="CLIENTS", help=f"clients: {selector}"
    )
    if session != "local":
        group.add_argument(
            "--service",
            metavar="SERVICES",
            help=f"services: {selector}, or groups (newest of each code group); with --checkout any"
            " git ref, too; default: all levels of the reference service, groups of released ones;"
            f" with --checkout: {refs.DEFAULT}",
        )
    probes = "basics,card,failing" if session == "full" else "basics"
    group.add_argument(
        "--probe",
        default=probes,
        metavar="PROBES",
        help=f"comma list of probes, or all (default: {probes})",
    )
    group.add_argument(
        "--flow-dir",
        default=FLOWS,
        type=Path,
        metavar="DIR",
        help="folder of probes; a plain Metaflow flow in it is a probe too (default: flows/)",
    )
    group.add_argument(
        "--datastore", default="local", metavar="KINDS", help="comma list of: local, s3"
    )
    _add_expectations(group)
    group.add_argument("--plan", action="store_true", help="print the plan and stop")


def _add_expectations(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--expectations",
        default=expectations.FILE,
        type=Path,
        metavar="FILE",
        help="declared known failures (default: expectations.json)",
    )


def _add_running(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("how to run it")
    group.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, help="cells at a time (default: cores)"
    )
    group.add_argument(
        "--timeout",
        type=float,
        default=TIMEOUT,
        help=f"seconds a cell may take (default: {TIMEOUT:g})",
    )


def _add_stack(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("database and service")
    _add_backend(group, "database and service come")
    group.add_argument(
        "--checkout",
        metavar="PATH|URL",
        help="take services from this clone of Netflix/metaflow-service, as processes; with"
        " containers released ones are the published images, and an image is built of others",
    )
    group.add_argument(
        "--scenario", choices=list(SCENARIOS), help="do something wrong on purpose (--checkout)"
    )
    group.add_argument(
        "--postgres", type=Path, metavar="PATH", help="use the PostgreSQL binaries found there"
    )
    group.add_argument("--database-name", default=DATABASE, help="name of the database")
    group.add_argument("--database-user", default=DATABASE, help="its owner")
    group.add_argument("--database-password", help="its password (default: a random one)")
    group.add_argument(
        "--database-port", type=int, help="its port on 127.0.0.1 (default: the system chooses)"
    )


def _add_containers(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("containers")
    _add_images(group)
    group.add_argument(
        "--remove-images",
        action="store_true",
        help="pull images a few at a time and remove them after use, but those that were there:"
        " fixed_db has five services' on the disk at most, compat in the end all of them",
    )
    group.add_argument(
        "--postgres-image",
        metavar="TAG",
        help="tag of the image postgres, or a whole image name (default: the tag in versions.json)",
    )


def _add_backend(group: argparse._ArgumentGroup, what: str) -> None:
    group.add_argument(
        "--backend",
        choices=BACKENDS,
        default="auto",
        help=f"where {what} from: processes of this machine (embedded),"
        " containers (docker), or containers where a Docker engine answers (auto, the default)",
    )


def _add_images(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--pull",
        choices=PULL_POLICIES,
        help="when to pull images (default: missing, those that are not on the engine)",
    )
    group.add_argument(
        "--registry",
        default="",
        metavar="PREFIX",
        help="take images from this mirror of Docker Hub, e.g. mirror.example.com/hub",
    )
    group.add_argument(
        "--dockerfile",
        metavar="PATH",
        help="build images of the checkout from this file of it (default: Dockerfile)",
    )


def _add_walk(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the walk")
    order = group.add_mutually_exclusive_group()
    order.add_argument("--path", metavar="SERVICES", help="just these services, in this order")
    order.add_argument(
        "--seed", type=int, help="a random path over the services, with rollbacks in between"
    )
    group.add_argument(
        "--on-failure",
        choices=ON_FAILURE,
        default="next",
        help="after a failed migration go on with the next service, or stop (default: next)",
    )
    group.add_argument(
        "--migration-timeout",
        type=float,
        default=MIGRATION_SECONDS,
        help=f"seconds a migration may take (default: {MIGRATION_SECONDS:g})",
    )
    group.add_argument("--database-url", metavar="URL", help="walk over this existing database")
    group.add_argument(
        "--allow-existing",
        action="store_true",
        help="even when it holds data: it is migrated, and gets the walk's runs",
    )


def _add_s3(parser: argparse.ArgumentParser, session: str) -> None:
    group = parser.add_argument_group("S3 (with --datastore s3)")
    if session != "local":
        group.add_argument(
            "--s3-image",
            metavar="IMAGE",
            help="with containers: store in a server from this image, e.g. minio/minio"
            " (default: a moto server of the run's own, as a process)",
        )
    group.add_argument(
        "--s3-root",
        metavar="URL",
        help="s3://bucket/prefix to store in, by the usual AWS variables or profile"
        f" (default: {S3_ROOT_VARIABLE} when it is set, else a server of the run's own)",
    )
    group.add_argument(
        "--s3-endpoint",
        metavar="URL",
        help="address of an S3-compatible server that has the root"
        f" (default: {S3_ENDPOINT_VARIABLE} when it is set, else Amazon's)",
    )


def _add_results(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what to keep and show")
    _add_results_folder(group)
    group.add_argument(
        "--keep",
        "--dont-remove-containers",
        action="store_true",
        help="keep the clients' working folders and data, and the last stack: its containers, or"
        " the files of the embedded database (nox -s ui shows what is in it)",
    )
    group.add_argument(
        "--with-service-logs",
        "--with-md-logs",
        action="store_true",
        help="show what the services print, as it comes",
    )


def _add_results_folder(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--results",
        "--results-output-path",
        type=Path,
        default=ROOT / "results",
        metavar="DIR",
        help="folder for the results of runs (default: results/)",
    )


def _add_ui(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the Metaflow UI")
    group.add_argument(
        "--ui-version",
        metavar="VERSIONS",
        help="service releases whose UI backend is started, selected as --service does; several"
        " only with --check (default: the one the database was left by, if it has a UI, else the"
        " latest)",
    )
    group.add_argument(
        "--ui-assets",
        type=Path,
        metavar="PATH",
        help="the built page, for backends that run as processes: a folder, or the zip published"
        " with the UI's releases",
    )
    page = group.add_mutually_exclusive_group()
    page.add_argument(
        "--ui-image",
        metavar="IMAGE",
        help="serve the page from this image of Netflix/metaflow-ui, in a container of its own",
    )
    page.add_argument(
        "--ui-checkout",
        metavar="PATH|URL",
        help="build that image from this clone of Netflix/metaflow-ui",
    )
    group.add_argument(
        "--ui-port",
        type=int,
        help="port of the page on 127.0.0.1 (default: 8083; with --check the system chooses)",
    )
    group.add_argument(
        "--ui-full",
        action="store_true",
        help="as many workers as the backend has unasked: 44 processes, 2.2 GB",
    )
    group.add_argument(
        "--ui-triggers",
        action="store_true",
        help="let the backend make triggers in the database, for news of runs as they come",
    )
    end = group.add_mutually_exclusive_group()
    end.add_argument(
        "--check",
        action="store_true",
        help="look for a sample of runs of every client, by the API and in a browser, and end",
    )
    end.add_argument("--detach", action="store_true", help="leave it running; nox -s clean ends it")
