"""The stand-in behaves where it matters as the real UI backend does."""

from __future__ import annotations

import os
import signal

import pytest
import requests

from harness.machine.processes import marked_processes, wait_until

pytestmark = pytest.mark.e2e


def test_it_outlives_signals_and_has_workers_in_its_group(migrated, standin):
    database, _ = migrated
    with standin(database.address) as (api, process):
        group = [pid for pid, mark in marked_processes() if mark == process.mark]
        assert len(group) == 3
        assert {os.getpgid(pid) for pid in group} == {process.pid}
        for name in (signal.SIGTERM, signal.SIGINT):
            os.killpg(process.pid, name)
        assert requests.get(f"{api}/ping", timeout=5).text == "pong"
    # A worker is killed with its group, but is nobody's child here: it cannot be waited for.
    wait_until(
        lambda: not [pid for pid, mark in marked_processes() if mark == process.mark],
        seconds=30,
        what="the end of all workers",
    )


def test_it_serves_its_assets_and_the_page_everywhere_else(migrated, standin):
    database, _ = migrated
    with standin(database.address) as (api, _):
        page = requests.get(f"{api}/SomeFlow/7/view/timeline", timeout=5)
        script = requests.get(f"{api}/static/app.js", timeout=5)
        outside = requests.get(f"{api}/static/../../ui_server.py", timeout=5)
    assert 'window.METAFLOW_SERVICE="/"' in page.text
    assert "javascript" in script.headers["Content-Type"]
    assert outside.headers["Content-Type"] == "text/html"
