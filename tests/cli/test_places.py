"""What cannot be used is told before anything starts, and before a client is installed."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from harness.catalog.versions import load
from harness.cli.options import parse
from harness.cli.places import check_places
from harness.machine.errors import UsageError
from harness.run.options import Options
from harness.stack.database import embedded


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
