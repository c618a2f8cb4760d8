"""Cells whose clients reach their service through a proxy of the harness's own."""

from __future__ import annotations

import contextlib
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import replace
from typing import TypeVar

from harness.client.cell import CellOutcome
from harness.client.program import Surroundings
from harness.core.outcome import Status
from harness.core.scenarios import proxy_of
from harness.machine.errors import InfraError
from harness.stack.proxy.relay import Relay

_Whose = TypeVar("_Whose", bound=Hashable)


@contextlib.contextmanager
def behind_proxy(
    outcome: CellOutcome, surroundings: Mapping[_Whose, Surroundings]
) -> Iterator[Mapping[_Whose, Surroundings]]:
    """Put the proxy of a cell's scenario, if it has one, between its clients and their service.

    Args:
        outcome: of the cell; the proxy's log becomes a part of its evidence.
        surroundings: what each of its clients runs in; all have the same service.

    Yields:
        The same, with the proxy's address, and told by settings what it wants.

    Raises:
        InfraError: when a check passed though no request came through: nothing was tried. Or when
            the proxy ended or broke: what came of the clients then is not theirs.
    """
    proxy = proxy_of(outcome.cell.scenario)
    if proxy is None:
        yield surroundings
        return
    # The clients of a cell have one folder of logs, and need the same.
    some = next(iter(surroundings.values()))
    assert some.service_url is not None, "the scenario is one of sessions with a service"
    log = some.logs / "proxy.txt"
    with contextlib.closing(Relay(some.service_url, log, proxy=proxy)) as relay:

        def watch() -> None:
            some.watch()
            relay.check_alive()

        try:
            yield {
                whose: replace(one, service_url=relay.url, settings=proxy.settings, watch=watch)
                for whose, one in surroundings.items()
            }
        finally:
            if log.exists():
                outcome.evidence["proxy"] = log
        relay.check_alive()
        passed = [one for one in outcome.checks.values() if one.status is Status.PASS]
        if passed and not relay.asked:
            raise InfraError(f"{outcome.cell.id}: no request came through the proxy")
