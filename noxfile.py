# /// script
# requires-python = ">=3.10"
# dependencies = [
#     "nox[uv]", "docker", "jinja2", "msgspec", "packaging", "psutil", "psycopg2-binary",
#     "requests", "rich"
# ]
# ///
"""The sessions. Thin: choose versions, install the client, hand over to harness/.

Loading this file parses and validates what files alone can tell, and asks nothing else.
"""

import functools
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import nox

sys.path.insert(0, str(Path(__file__).parent))

from harness.cli.choice import choose

if TYPE_CHECKING:
    from harness.cli.sessions import Sessions

nox.needs_version = ">=2026.4.10"
nox.options.sessions = ["compat"]
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_existing_virtualenvs = True
# Only so does nox make an environment anew that has another Python than the session wants.
# Behind this variable since https://github.com/wntrblm/nox/pull/451.
os.environ.setdefault("NOX_ENABLE_STALENESS_CHECK", "1")
# A client whose Python is missing is skipped with the reason, and counted; on CI too.
nox.options.error_on_missing_interpreters = False

CHOICE = choose()


@functools.cache
def sessions() -> "Sessions":
    """Return what the sessions do, one object for all of this process."""
    # Half a second of imports, which a listing does not need.
    from harness.cli.sessions import Sessions  # noqa: PLC0415

    return Sessions(CHOICE)


@nox.session(requires=["plan"])
@nox.parametrize("python,client", CHOICE.parameters("compat"))
def compat(session: nox.Session, client: str, **_: str) -> None:
    """Run a client against every selected service, each with a fresh database."""
    # nox leaves our python to the function, in **_, where --force-python replaces it.
    sessions().run_client(session, "compat", client)


@nox.session(default=False, requires=["plan"])
@nox.parametrize("python,client", CHOICE.parameters("cross"))
def cross(session: nox.Session, client: str, **_: str) -> None:
    """Prepare a client to read and resume what others write, in one database a service."""
    sessions().prepare_client(session, "cross", client)


@nox.session(default=False, requires=["plan"])
@nox.parametrize("python,client", CHOICE.parameters("fixed_db"))
def fixed_db(session: nox.Session, client: str, **_: str) -> None:
    """Prepare a client for one walk of all of them: one database through every service."""
    sessions().prepare_client(session, "fixed_db", client)


@nox.session(default=False, requires=["plan"])
@nox.parametrize("python,client", CHOICE.parameters("chaos"))
def chaos(session: nox.Session, client: str, **_: str) -> None:
    """Run a client while what it needs breaks: one fault a cell."""
    sessions().run_client(session, "chaos", client)


@nox.session(default=False, requires=["plan"])
@nox.parametrize("python,client", CHOICE.parameters("local"))
def local(session: nox.Session, client: str, **_: str) -> None:
    """Run a client alone: local metadata, no service."""
    sessions().run_client(session, "local", client)


# The backend none, rather than python=False: --force-python gives a Python to each session.
@nox.session(venv_backend="none", default=False)
def plan(session: nox.Session) -> None:
    """Ask what files do not tell, and plan (queued by the sessions above); -- --plan prints it."""
    sessions().plan(session)


@nox.session(venv_backend="none", default=False)
def verdict(session: nox.Session) -> None:
    """Run cross, walk fixed_db, end the run and print its grid (queued by the sessions above)."""
    sessions().end_runs(session)


@nox.session(venv_backend="none", default=False)
def ui(session: nox.Session) -> None:
    """Deploy the Metaflow UI over what a run kept, or over a database, at localhost:8083."""
    sessions().show_ui(session)


@nox.session(venv_backend="none", default=False, requires=["plan"])
def full(session: nox.Session) -> None:
    """fixed_db, keep what it leaves, then the Metaflow UI over it."""
    sessions().run_full(session)


@nox.session(venv_backend="none", default=False)
def clean(session: nox.Session) -> None:
    """Remove what killed runs left; after -- also the stacks kept by the runs named."""
    sessions().run_command(session, "clean")


@nox.session(venv_backend="none", default=False)
def bisect(session: nox.Session) -> None:
    """Find the first release or commit where a check fails, by the fewest cells."""
    sessions().run_command(session, "bisect")


@nox.session(venv_backend="none", default=False)
def report(session: nox.Session) -> None:
    """Draw the reports again, of the last run or of several put together."""
    sessions().run_command(session, "report")


@nox.session(venv_backend="none", default=False)
def diff(session: nox.Session) -> None:
    """Compare two results, -- OLD NEW; red when something became red, or is new and red."""
    sessions().run_command(session, "diff")


@nox.session(venv_backend="none", default=False)
def rerun(session: nox.Session) -> None:
    """Run again what failed in the last results, stages too, or cells by their ids."""
    sessions().run_command(session, "rerun")


@nox.session(default=False)
def tests(session: nox.Session) -> None:
    """Run the tests, two files at a time; what follows -- goes to pytest."""
    install_for(session, "tests")
    session.run(
        # What costs minutes is listed in the end: CI has 45 of them.
        *("pytest", "-n", "2", "--dist", "loadfile", "--no-loadscope-reorder"),
        *("--durations", "25", "--durations-min", "15"),
        *session.posargs,
    )


@nox.session(default=False)
def lint(session: nox.Session) -> None:
    """Check style and types."""
    from harness.stack.service.reference import REQUIREMENTS  # noqa: PLC0415 - as in sessions()

    install_for(session, "lint")
    # What the parts with tool environments of their own import.
    session.install(*REQUIREMENTS)
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("mypy")
    session.run("lint-imports", "--no-cache")


def install_for(session: nox.Session, group: str) -> None:
    """Install what the harness needs, and a group of pyproject.toml."""
    groups = nox.project.load_toml("pyproject.toml")
    needs = nox.project.load_toml("noxfile.py")["dependencies"]
    session.install(*needs, *nox.project.dependency_groups(groups, group))
