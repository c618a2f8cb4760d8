"""A relay over a service of a few lines, asked as clients ask."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import resource
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from harness.core.scenarios import Loss, Proxy, Way, proxy_of
from harness.machine.errors import InfraError
from harness.machine.processes import free_port
from harness.stack.proxy.relay import Break, Relay
from tests.stack.proxy.counting_service import Service

TASK = "/flows/F/runs/1/steps/start/task"


@pytest.fixture
def service() -> Iterator[Service]:
    with closing(Service()) as found:
        yield found


def struck(service: Service, way: Way, tmp_path: Path, nth: int = 1) -> Relay:
    return Relay(service.url, tmp_path / "relay.txt", losses={"create_task": Loss(way, nth)})


def test_what_is_not_to_be_lost_passes_whole(service, tmp_path):
    with closing(struck(service, Way.DROP, tmp_path)) as relay:
        answer = requests.post(relay.url + "/flows/F?a=b", json={"x": "ü"}, timeout=5)
    assert (answer.status_code, answer.json()) == (200, {"task_id": 1})
    assert answer.headers["X-Version"] == "7"
    assert service.asked == [("POST", "/flows/F?a=b", b'{"x": "\\u00fc"}')]
    assert relay.strikes == ()
    assert (tmp_path / "relay.txt").read_text(encoding="utf-8") == "POST /flows/F?a=b: 200\n"


def test_a_dropped_answer_is_done_and_only_the_first_of_its_kind_is_lost(service, tmp_path):
    with closing(struck(service, Way.DROP, tmp_path)) as relay:
        with pytest.raises(requests.ConnectionError):
            requests.post(relay.url + TASK, json={}, timeout=5)
        again = requests.post(relay.url + TASK, json={}, timeout=5)
    assert len(service.asked) == 2
    assert again.json() == {"task_id": 2}
    (strike,) = relay.strikes
    assert (strike.kind.name, strike.loss, strike.path) == ("create_task", Loss(Way.DROP), TASK)
    assert json.loads(strike.answer.body) == {"task_id": 1}
    first, _ = (tmp_path / "relay.txt").read_text(encoding="utf-8").splitlines()
    assert first == f"POST {TASK}: 200; is dropped"


@pytest.mark.parametrize("way", [Way.DROP, Way.TRUNCATE])
def test_the_nth_answer_of_a_kind_alone_is_lost(service, tmp_path, way):
    with closing(struck(service, way, tmp_path, nth=3)) as relay:
        lost = []
        for number in range(1, 6):
            requests.post(relay.url + "/flows/F", json={}, timeout=5)  # of another kind
            try:
                requests.post(relay.url + TASK, json={}, timeout=5)
            except requests.RequestException:
                lost.append(number)
    assert lost == [3]
    assert [json.loads(strike.answer.body)["task_id"] for strike in relay.strikes] == [6]
    assert len(service.asked) == 10


def test_a_cut_off_answer_has_the_length_of_the_whole(service, tmp_path):
    with closing(struck(service, Way.TRUNCATE, tmp_path)) as relay:
        connection = http.client.HTTPConnection(relay.url.removeprefix("http://"), timeout=5)
        connection.request("POST", TASK, "{}")
        answer = connection.getresponse()
        with pytest.raises(http.client.IncompleteRead) as caught:
            answer.read()
        connection.close()
    assert answer.status == 200
    assert caught.value.partial == b'{"task_'


def test_a_repeated_request_is_made_twice_and_answered_with_the_second(service, tmp_path):
    with closing(struck(service, Way.REPEAT, tmp_path)) as relay:
        answer = requests.post(relay.url + TASK, json={}, timeout=5)
    assert answer.json() == {"task_id": 2}
    assert service.asked[0] == service.asked[1]
    assert json.loads(relay.strikes[0].answer.body) == {"task_id": 1}


def test_a_late_answer_is_whole(service, tmp_path, monkeypatch):
    monkeypatch.setattr("harness.stack.proxy.relay.DELAY_SECONDS", 0.2)
    with closing(struck(service, Way.DELAY, tmp_path)) as relay:
        started = time.monotonic()
        assert requests.post(relay.url + TASK, json={}, timeout=5).json() == {"task_id": 1}
    assert time.monotonic() - started >= 0.2


def test_a_late_answer_does_not_hold_the_end(service, tmp_path):
    with closing(struck(service, Way.DELAY, tmp_path)) as relay:
        connection = http.client.HTTPConnection(relay.url.removeprefix("http://"), timeout=5)
        connection.request("POST", TASK, "{}")
    connection.close()
    with pytest.raises(requests.ConnectionError):
        requests.get(relay.url + "/ping", timeout=5)


def test_a_service_that_is_gone_answers_nothing(tmp_path):
    gone = f"http://127.0.0.1:{free_port()}"
    with (
        closing(Relay(gone, tmp_path / "relay.txt")) as relay,
        pytest.raises(requests.ConnectionError),
    ):
        requests.get(relay.url + "/ping", timeout=5)


def asked(relay: Relay, path: str, **how: object) -> tuple[int, str]:
    answer = requests.post(relay.url.partition("/teams")[0] + path, timeout=5, **how)  # type: ignore[arg-type]
    return answer.status_code, answer.text


def test_below_a_prefix_is_the_service_and_nothing_elsewhere(service, tmp_path):
    proxy = proxy_of("path-prefix")
    with closing(Relay(service.url, tmp_path / "proxy.txt", proxy=proxy)) as relay:
        assert relay.url.endswith("/teams/metaflow")
        assert requests.post(relay.url + "/flows/F", timeout=5).status_code == 200
        assert asked(relay, "/flows/F")[0] == asked(relay, "/teams/metaflowers/F")[0] == 404
        assert len(relay.asked) == 1
    assert [path for _, path, _ in service.asked] == ["/flows/F"]
    noted = (tmp_path / "proxy.txt").read_text(encoding="utf-8").splitlines()
    assert (
        noted[1] == "POST /flows/F: 404 by the relay: there is nothing but below /teams/metaflow/"
    )


@pytest.mark.parametrize("scenario", ["auth-key", "auth-headers"])
def test_without_what_it_wants_nothing_is_passed_on(service, tmp_path, scenario):
    proxy = proxy_of(scenario)
    with closing(Relay(service.url, tmp_path / "proxy.txt", proxy=proxy)) as relay:
        refused = asked(relay, "/flows/F", headers=dict.fromkeys(proxy.headers, "another"))
        assert asked(relay, "/flows/F")[0] == refused[0] == 401
        assert "is wanted" in refused[1]
        lower = {name.lower(): value for name, value in proxy.headers.items()}
        assert asked(relay, "/flows/F", headers=lower)[0] == 200
    assert len(service.asked) == 1


def test_a_body_over_the_limit_is_refused(service, tmp_path):
    proxy = proxy_of("body-limit=1")
    with closing(Relay(service.url, tmp_path / "proxy.txt", proxy=proxy)) as relay:
        assert asked(relay, "/flows/F", data=b"x" * 1024)[0] == 200
        assert asked(relay, "/flows/F", data=b"x" * 1025) == (413, "1025 bytes are over 1024\n")
    assert len(service.asked) == 1


def test_an_idle_connection_is_closed_when_it_is_used_again(service, tmp_path):
    with closing(Relay(service.url, tmp_path / "proxy.txt", proxy=Proxy(idle=0.2))) as relay:
        connection = http.client.HTTPConnection(relay.url.removeprefix("http://"), timeout=5)
        with closing(connection):
            for _ in range(2):  # not idle in between
                connection.request("POST", "/flows/F")
                assert connection.getresponse().read()
            time.sleep(0.3)
            connection.request("POST", "/flows/F")
            with pytest.raises(http.client.RemoteDisconnected):
                connection.getresponse()
    assert len(service.asked) == 2


def breaking(service: Service, way: Way, tmp_path: Path, breaks: Break) -> Relay:
    losses = {"create_task": Loss(way, 1, "it breaks")}
    return Relay(service.url, tmp_path / "relay.txt", losses=losses, breaks=breaks)


def lines_of(tmp_path: Path) -> list[str]:
    return (tmp_path / "relay.txt").read_text(encoding="utf-8").splitlines()


def test_what_comes_while_a_service_is_restarted_is_not_passed_on(service, tmp_path):
    mended = threading.Event()

    def restart() -> str:
        assert mended.wait(10)
        return service.url

    breaks = Break(restart, refuses=True)
    with closing(breaking(service, Way.BEFORE, tmp_path, breaks)) as relay:
        for path in (TASK, "/flows/F"):
            with pytest.raises(requests.ConnectionError):
                requests.post(relay.url + path, json={}, timeout=5)
        assert relay.breaking.locked()
        mended.set()
        relay.settle()
        assert requests.post(relay.url + TASK, json={}, timeout=5).json() == {"task_id": 1}
    assert not relay.breaking.locked()
    assert [(strike.check, strike.answer.body) for strike in relay.strikes] == [
        ("amid_create_task", b"")
    ]
    assert lines_of(tmp_path)[:2] == [
        "it breaks before the first 'create task'",
        f"POST {TASK}: not passed on",
    ]


def test_a_request_that_is_not_passed_on_is_none_that_a_fault_strikes_at(service, tmp_path):
    mended = threading.Event()

    def restart() -> str:
        assert mended.wait(10)
        return service.url

    losses = {name: Loss(Way.AFTER, 1, "it breaks") for name in ("create_flow", "create_task")}
    relay = Relay(
        service.url, tmp_path / "relay.txt", losses=losses, breaks=Break(restart, refuses=True)
    )
    with closing(relay):
        requests.post(relay.url + "/flows/F", json={}, timeout=5)
        with pytest.raises(requests.ConnectionError):
            requests.post(relay.url + TASK, json={}, timeout=5)
        mended.set()
        relay.settle()
        requests.post(relay.url + TASK, json={}, timeout=5)
        relay.settle()
        assert [strike.kind.name for strike in relay.strikes] == ["create_flow", "create_task"]


def test_a_request_meets_what_is_broken_and_its_answer_is_passed_on(service, tmp_path):
    broken, mended, told = threading.Event(), threading.Event(), []

    def restart() -> str:
        broken.set()
        assert mended.wait(10)
        return service.url

    def is_broken() -> bool:
        told.append(broken.is_set())
        return broken.is_set()

    with closing(breaking(service, Way.BEFORE, tmp_path, Break(restart, is_broken))) as relay:
        assert requests.post(relay.url + TASK, json={}, timeout=5).json() == {"task_id": 1}
        assert told[-1]
        mended.set()


def test_after_an_answer_it_breaks_and_goes_on_where_the_service_is_then(service, tmp_path):
    with closing(Service()) as other:
        breaks = Break(lambda: other.url)
        with closing(breaking(service, Way.AFTER, tmp_path, breaks)) as relay:
            for _ in range(2):
                requests.post(relay.url + TASK, json={}, timeout=5)
    assert (len(service.asked), len(other.asked)) == (1, 1)
    assert [json.loads(strike.answer.body) for strike in relay.strikes] == [{"task_id": 1}]
    assert [(one.path, one.told) for one in relay.asked] == [(TASK, True)] * 2


def test_what_cannot_be_mended_is_raised_where_it_is_waited_for(service, tmp_path):
    def restart() -> str:
        raise InfraError("it does not come up")

    with closing(breaking(service, Way.AFTER, tmp_path, Break(restart))) as relay:
        requests.post(relay.url + TASK, json={}, timeout=5)
        with pytest.raises(InfraError, match="it does not come up"):
            relay.settle()


def test_a_slow_network_costs_each_request_its_time(service, tmp_path):
    breaks = Break(lambda: service.url, latency=0.1)
    with closing(breaking(service, Way.BEFORE, tmp_path, breaks)) as relay:
        started = time.monotonic()
        requests.get(relay.url + "/ping", timeout=5)
    assert time.monotonic() - started >= 0.1


@pytest.mark.parametrize(("way", "told"), [(Way.DROP, False), (Way.DELAY, True)])
def test_whether_a_client_has_an_answer_is_told(service, tmp_path, monkeypatch, way, told):
    monkeypatch.setattr("harness.stack.proxy.relay.DELAY_SECONDS", 0.01)
    with closing(struck(service, way, tmp_path)) as relay:
        with contextlib.suppress(requests.RequestException):
            requests.post(relay.url + TASK, json={}, timeout=5)
        (asked,) = relay.asked
    assert (asked.method, asked.body, asked.told) == ("POST", b"{}", told)
    assert asked.answer is not None
    assert json.loads(asked.answer.body) == {"task_id": 1}


def test_what_the_machine_refuses_it_is_no_fault_of_the_client_or_the_service(service, tmp_path):
    with closing(Relay(service.url, tmp_path / "relay.txt")) as relay:
        client = http.client.HTTPConnection(urlsplit(relay.url).netloc, timeout=5)
        client.request("GET", "/flows")
        client.getresponse().read()
        relay.check_alive()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        free = os.open(os.devnull, os.O_RDONLY)
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
        try:
            client.request("GET", "/flows")
            with pytest.raises(http.client.RemoteDisconnected):
                client.getresponse()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            client.close()
        for asks in (relay.check_alive, relay.settle):
            with pytest.raises(InfraError, match=r"^the machine: Too many open files: the proxy "):
                asks()
    assert len(service.asked) == 1


def test_a_client_that_goes_away_is_no_fault_of_the_relay(service, tmp_path):
    with closing(Relay(service.url, tmp_path / "relay.txt")) as relay:
        with socket.create_connection(urlsplit(relay.url).netloc.split(":"), timeout=5) as client:
            linger = struct.pack("ii", 1, 0)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            client.sendall(b"GET /flows HTTP/1.1\r\nContent-Length: 5\r\n\r\n")
        requests.get(relay.url + "/flows", timeout=5)
        relay.check_alive()
