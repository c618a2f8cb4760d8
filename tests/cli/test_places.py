"""What cannot be used is told before anything starts, and before a client is installed."""

from __future__ import annotations

import os
import socket
from contextlib import closing
from pathlib import Path

import pytest

from harness.catalog.versions import load
from harness.cli.options import parse
from harness.cli.places import check_places
from harness.machine.errors import UsageError
from harness.run.options import Options
from harness.stack.database import embedded
from tests.stack.containers.fake_engine import RegistryEngine


def _options(results: Path, *more: str, session: str = "compat") -> Options:
    own = () if session == "local" else ("--service", "2.5", "--backend", "embedded")
    return parse(session, ["--results", str(results), *own, *more], load())


def test_a_user_whom_the_machine_does_not_know_is_told_with_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    with pytest.raises(UsageError, match="the id 54321 has no entry in /etc/passwd; add one, or"):
        check_places(_options(tmp_path))
    # Clients alone need no database.
    check_places(_options(tmp_path, session="local"))


def test_as_root_a_port_that_only_root_may_take_is_refused(tmp_path, monkeypatch):
    first = tmp_path / "first"
    monkeypatch.setattr(embedded, "_UNPRIVILEGED_PORT", first)
    monkeypatch.setattr("harness.cli.places.unprivileged_user", lambda: 65534)
    for text, port in (("2000", "1999"), ("", "1023")):
        first.write_text(text, encoding="utf-8")
        said = f"the database port {port} cannot be used: below {int(port) + 1} only root may"
        with pytest.raises(UsageError, match=said):
            check_places(_options(tmp_path, "--database-port", port))


def test_a_port_that_everybody_may_take_is_none_of_those(tmp_path, monkeypatch):
    first = tmp_path / "first"
    first.write_text("80", encoding="utf-8")
    monkeypatch.setattr(embedded, "_UNPRIVILEGED_PORT", first)
    monkeypatch.setattr("harness.cli.places.unprivileged_user", lambda: 65534)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    check_places(_options(tmp_path, "--database-port", str(free)))


NO_TAG = (404, "manifest unknown: manifest unknown")


def _over_an_engine(folder: Path, monkeypatch: pytest.MonkeyPatch, *more: str) -> None:
    """Check the places of a run over an engine that has 16, and whose registry has 17, too."""
    answers = {
        "postgres:16": NO_TAG,
        "postgres:17": (200, ""),
        "postgres:18-alpin": NO_TAG,
        "postgres:17-own": (404, "page not found"),
        "m:1/library/postgres:none": (500, "dial tcp: lookup m: no such host"),
        "m:1/pg:17": (404, "m:1/pg:17: not found"),
    }
    with closing(RegistryEngine(["postgres:16", "postgres:15.3"], answers)) as fake:
        monkeypatch.setenv("DOCKER_HOST", fake.host)
        given = ["--results", str(folder / "results"), "--backend", "docker", *more]
        session = "fixed_db" if "--postgres-upgrade" in more else "compat"
        check_places(parse(session, given, load(), lambda: "Docker Engine 99"))


@pytest.mark.parametrize(
    "given",
    [
        [],
        ["--postgres", "16,17"],
        ["--postgres", "16", "--pull", "never"],
        # No words of a registry: an engine that cannot be asked may pull it.
        ["--postgres-image", "postgres:17-own"],
    ],
)
def test_images_that_can_be_had_are_let_alone(tmp_path, monkeypatch, given):
    _over_an_engine(tmp_path, monkeypatch, *given)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            ["--postgres", "16,18-alpin"],
            [
                "--postgres 18-alpin: asking for postgres:18-alpin: manifest unknown",
                " such tag (nearest: 18); versions.json lists 11 to 18, the engine has 15.3, 16",
            ],
        ),
        (["--postgres", "16", "--pull", "always"], ["--postgres 16: asking for postgres:16: "]),
        (
            ["--postgres-upgrade", "16,17", "--pull", "never"],
            [
                "--postgres-upgrade 17: the image postgres:17 is not on the engine, and --pull is",
                " 'never' (nearest: 16); the engine has 15.3, 16",
            ],
        ),
        (
            ["--postgres-image", "none", "--registry", "m:1"],
            [
                "--postgres-image postgres:none: asking for m:1/library/postgres:none: dial tcp: ",
                " m: no such host; the registry cannot be reached from the engine: ",
            ],
        ),
        (["--postgres-image", "m:1/pg:17"], ["--postgres-image m:1/pg:17: asking for m:1/pg:17: "]),
    ],
)
def test_an_image_that_cannot_be_had_is_refused(tmp_path, monkeypatch, given, said):
    with pytest.raises(UsageError) as refused:
        _over_an_engine(tmp_path, monkeypatch, *given)
    assert str(refused.value).startswith(said[0])
    assert said[-1] in str(refused.value)
    assert "\n" not in str(refused.value)
