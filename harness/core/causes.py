"""What versions.json knows of clients on Pythons, as declared failures. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from harness.core.expectations import Expectation, Range
from harness.core.outcome import CheckOutcome, Status
from harness.core.plan import Cell
from harness.core.probes import RUN_CHECK

_FAILING = {Status.FAIL, Status.TIMEOUT}


def known_failures(cell: Cell, checks: Mapping[str, CheckOutcome]) -> list[Expectation]:
    """Return what is declared of a cell one of whose clients is known not to run on its Python.

    That is each check which fails with the words of the cause: any may be the first to meet it, and
    one that fails of another reason is red. Where none does, the run was to fail, and that it
    passes must be told.

    Args:
        cell: the cell.
        checks: what came of each of its checks.
    """
    # Unasked, other clients in the cell may run on other Pythons than the one that reads.
    clients = cell.clients if "python" in cell.asked else (cell.client,)
    client = next((one for one in clients if cell.python in one.fails), None)
    if client is None:
        return []
    cause = client.fails[cell.python]
    failing = [name for name, outcome in checks.items() if outcome.status in _FAILING]
    declared = [name for name in failing if cause.is_in(checks[name].reason)]
    return [
        Expectation(
            where=f"versions.json, 'fails' of client {client.name},",
            service=Range(),
            check=check,
            reason=f"Metaflow {client.name} does not run on Python {cell.python}: {cause.why}",
            link=None,
            until=None,
        )
        for check in (declared if failing else [RUN_CHECK])
    ]
