"""The proxy of a scenario between the clients of a cell and their service."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest
import requests

from harness.client.cell import CellOutcome
from harness.client.proxied import behind_proxy
from harness.core.outcome import CheckOutcome, Status
from harness.machine.errors import InfraError
from harness.stack.proxy.relay import Relay
from tests.stack.proxy.counting_service import Service


@pytest.fixture
def proxied(cell, surroundings):
    """A cell behind a proxy, its outcome, and surroundings that lead straight to a service."""
    with closing(Service()) as service:
        one = replace(cell(), session="compat", scenario="auth-key")
        around = surroundings(service_url=service.url)
        around.make_folders()
        yield CellOutcome(one), around, service


def test_clients_are_led_through_it_and_told_what_it_wants(proxied):
    outcome, around, service = proxied
    with behind_proxy(outcome, {"a": around, "b": around}) as through:
        assert {one.service_url for one in through.values()} != {service.url}
        variables = through["b"].environment()
        key = variables["METAFLOW_SERVICE_AUTH_KEY"]
        url = variables["METAFLOW_SERVICE_URL"] + "/flows/F"
        assert requests.post(url, timeout=5).status_code == 401
        assert requests.post(url, headers={"x-api-key": key}, timeout=5).status_code == 200
        outcome.checks = {"run": CheckOutcome(Status.PASS)}
    assert len(service.asked) == 1
    noted = outcome.evidence["proxy"].read_text(encoding="utf-8").splitlines()
    assert noted == [
        "POST /flows/F: 401 by the relay: the header x-api-key is wanted",
        "POST /flows/F: 200",
    ]


def test_a_cell_that_never_asked_it_is_not_green(proxied):
    outcome, around, _ = proxied
    with pytest.raises(InfraError, match="no request came through the proxy"):  # noqa: SIM117
        with behind_proxy(outcome, {"a": around}):
            outcome.checks = {"run": CheckOutcome(Status.PASS)}
    assert "proxy" not in outcome.evidence


def test_a_proxy_that_ends_is_told_at_once_to_who_is_behind_it(proxied, monkeypatch):
    outcome, around, _ = proxied
    relays: list[Relay] = []

    def kept(*given: Any, **named: Any) -> Relay:
        relays.append(Relay(*given, **named))
        return relays[-1]

    monkeypatch.setattr("harness.client.proxied.Relay", kept)
    behind = behind_proxy(outcome, {"a": around})
    through = behind.__enter__()["a"]
    through.watch()
    relays[0]._server.shutdown()
    relays[0]._serving.join(5)
    for asks in (through.watch, lambda: behind.__exit__(None, None, None)):
        with pytest.raises(InfraError, match=r"^the proxy between client and service ended$"):
            asks()


def test_without_such_a_scenario_all_stays(proxied):
    outcome, around, _ = proxied
    other = CellOutcome(replace(outcome.cell, scenario="wrong-order"))
    with behind_proxy(other, {"a": around}) as through:
        assert through == {"a": around}
