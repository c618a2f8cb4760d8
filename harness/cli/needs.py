"""What the environments of clients need, looked at before anything starts."""

from __future__ import annotations

from collections.abc import Sequence

from harness.catalog.interpreters import find_interpreters
from harness.catalog.releases import Service
from harness.catalog.versions import load
from harness.cli.planning import OnPython
from harness.machine.dependencies import check_file
from harness.machine.errors import UsageError
from harness.stack.service.checkout import check_service_file


def check_environments(session: str, clients: Sequence[OnPython]) -> None:
    """Raise UsageError for several environments of a client, where all clients need one."""
    pythons = dict.fromkeys(one.python if one.asked else "one unasked" for one in clients)
    deps = dict.fromkeys(one.deps.given for one in clients)
    for what, asked in (("Python", pythons), ("--deps", deps)):
        if session in {"cross", "fixed_db"} and len(asked) > 1:
            raise UsageError(
                f"{session} has one environment a client and runs them all together: name one"
                f" {what}, not {' and '.join(asked)}; compat and local take several"
            )


def check_files(clients: Sequence[OnPython], services: Sequence[Service]) -> None:
    """Raise UsageError for a file of dependencies that a Python of the run cannot have."""
    pythons = find_interpreters()
    for deps in dict.fromkeys(service.deps for service in services):
        check_service_file(deps, load().service_pythons)
    for python, deps in dict.fromkeys((one.python, one.deps) for one in clients):
        # Of a Python that nox finds elsewhere the environment tells.
        if deps.file is not None and python in pythons:
            check_file("--deps", deps, [str(pythons[python])])
