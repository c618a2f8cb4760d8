"""A package index that cannot be reached costs the clients that are not installed yet, alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from harness.core.outcome import Status
from tests.e2e.nox_runs import command, environment, run

pytestmark = pytest.mark.e2e

THERE, ABSENT = "2.19.39", "2.19.38"


def _forget(client: str) -> None:
    """Remove the environment of a client, and so what an earlier test may have installed."""
    words = command()
    envdir = Path(words[words.index("--envdir") + 1] if "--envdir" in words else ".nox")
    shutil.rmtree(envdir / f"local-{client.replace('.', '-')}", ignore_errors=True)


def test_an_index_that_cannot_be_reached_is_named(tmp_path: Path):
    probe = ("--probe", "hello")
    assert run("local", tmp_path, "--metaflow", THERE, *probe).code == 0
    _forget(ABSENT)
    address = "http://someone:hidden@127.0.0.1:9/simple"
    alone = environment(
        UV_DEFAULT_INDEX=address, UV_INDEX_URL=address, PIP_INDEX_URL=address, UV_HTTP_RETRIES="0"
    )
    found = run("local", tmp_path, "--metaflow", f"{ABSENT},{THERE}", *probe, env=alone)
    assert found.code != 0
    reasons = {
        cell.client: (cell.status, cell.checks["run"].reason) for cell in found.view.finished
    }
    status, reason = reasons[ABSENT]
    assert status is Status.INFRA
    unreachable = "the package index http://127.0.0.1:9 cannot be reached: "
    assert reason.startswith(f"metaflow=={ABSENT}")
    assert f" could not be resolved with --deps pinned: {unreachable}" in reason
    assert "\n" not in reason
    assert reason in found.output
    assert "hidden" not in found.output
    assert "Traceback" not in found.output
    assert reasons[THERE][0] is Status.PASS
