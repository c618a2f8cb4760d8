"""A service that somebody else runs: what is one, and what may be asked."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from harness.machine.errors import InfraError, UsageError
from harness.stack.database.server import Database
from harness.stack.service.external import ExternalLauncher, check_external, find_external
from tests.proof.standin import Answered, serving


def service(_: str, path: str, flows: object = (), version: str = "2.5.1") -> Answered:
    """Answer as a metadata service does."""
    if path == "/ping":
        return 200, b"pong", {"METADATA_SERVICE_VERSION": version}
    if path == "/flows":
        return (404, b"", {}) if flows is None else (200, json.dumps(flows).encode(), {})
    return 404, b"{}", {}


def test_a_service_is_what_it_reports_and_its_address_is_what_the_name_stands_for():
    with serving(service) as url:
        found = find_external(f"{url}/")
        check_external(found, None, allow=False)
    assert (found.name, found.kind, found.label) == ("external", "external", url)
    assert (found.reported, str(found.version)) == ("2.5.1", "2.5.1")
    assert found.satisfies(">=2.5")


def page(*_: str) -> Answered:
    return 200, b"<html>a page</html>", {}


def migration_service(_: str, path: str) -> Answered:
    return (200, b"pong", {}) if path == "/ping" else (404, b"404: Not Found", {})


def odd_version(method: str, path: str) -> Answered:
    return service(method, path, version="the newest")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (page, "no metadata service answers there: GET /flows/NoFlowOfAnybody is answered 200"),
        (migration_service, "no metadata service .* answered 404 '404: Not Found'"),
        (odd_version, "it reports 'the newest', which is no version"),
        (lambda *_: (503, b"down", {}), "GET /ping is answered 503 'down'"),
    ],
)
def test_what_answers_otherwise_is_refused_in_one_line(answer, said):
    with serving(answer) as url, pytest.raises(UsageError, match=said) as refused:
        find_external(url)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:8080",
        "ftp://host",
        "http://",
        "http://me:pw@host",
        "http://h?a=1",
        "http://h:x",
    ],
)
def test_a_url_of_another_shape_is_refused_and_not_repeated(url):
    with pytest.raises(UsageError, match="write it as http://HOST:PORT") as refused:
        find_external(url)
    assert "pw" not in str(refused.value)


def test_nobody_there_is_one_line():
    with serving(service) as url:
        pass
    with pytest.raises(UsageError, match=f"GET {url}/ping is not answered"):
        find_external(url)


@pytest.mark.parametrize(
    ("flows", "said"),
    [
        ([{"flow_id": name} for name in "ABCDE"], "somebody's flows already: A, B, C and 2 more;"),
        (None, "does not list its flows (GET /flows is answered 404)"),
        ({"no": "list"}, "does not list its flows (GET /flows is answered 200)"),
    ],
)
def test_somebodys_flows_are_let_be_without_leave(flows, said):
    def answer(method: str, path: str) -> Answered:
        return service(method, path, flows)

    with serving(answer) as url:
        found = find_external(url)
        with pytest.raises(UsageError, match=re.escape(said)):
            check_external(found, None, allow=False)
        check_external(found, None, allow=True)


def test_a_database_of_something_else_is_refused(database: Database):
    with serving(service) as url:
        found = find_external(url)
        with pytest.raises(UsageError, match="not that of a metadata service: it has no table"):
            check_external(found, database.address.url, allow=True)


def test_one_that_went_down_is_not_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with serving(service) as url:
        # It is asked straight, as clients ask it, whatever the machine says of proxies.
        monkeypatch.setenv("http_proxy", url.replace("127.0.0.1", "127.0.0.2"))
        monkeypatch.delenv("no_proxy", raising=False)
        found = find_external(url)
        running = ExternalLauncher(url).start(found, None, tmp_path / "logs" / "external.log")
        running.check_alive()
    with pytest.raises(InfraError, match="does not answer"):
        running.check_alive()
    with pytest.raises(InfraError, match="somebody else's"):
        running.restart()
