"""The UI over containers: in a kept network, on this machine's, and with a page of its own."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from harness.machine.processes import free_port, wait_until
from harness.stack.containers.engine import Engine
from harness.stack.containers.own import find
from harness.stack.kept_stack import Kept, all_kept
from tests.e2e.nox_runs import (
    NOTHING_KNOWN,
    NoxRun,
    end,
    environment,
    finished_run,
    nox,
    run,
    started,
)
from tests.images.build import PAGE, page_context
from tests.stack.service.upstream import git

pytestmark = [pytest.mark.e2e, pytest.mark.docker]


@dataclass(frozen=True)
class Stack:
    """What a run over containers kept."""

    kept: Kept
    env: dict[str, str]
    registry: str

    def ui(self, results: Path, *more: str) -> NoxRun:
        """Run ``nox -s ui`` with images of the registry, to its end."""
        port = ("--ui-port", str(free_port()))
        where = ("--registry", self.registry, "--results", str(results))
        where += ("--expectations", str(NOTHING_KNOWN))
        done = nox("-s", "ui", "--", *where, *port, *more, env=self.env)
        output = done.stdout + done.stderr
        assert "Traceback" not in output
        return (
            finished_run(done.returncode, output, results)
            if "--check" in more
            else NoxRun(done.returncode, output, results)
        )


@pytest.fixture(scope="module")
def stack(engine: Engine, registry: str, tmp_path_factory) -> Iterator[Stack]:
    """The stack of v2.5.0 with one client's runs in it, kept."""
    env = environment(DOCKER_HOST=engine.host)
    done = run(
        "compat",
        tmp_path_factory.mktemp("results"),
        *("--registry", registry, "--metaflow", "2.19.39", "--service", "v2.5.0"),
        *("--probe", "card,failing", "--keep"),
        env=env,
    )
    assert done.code == 0, done.output
    kept = next(one for one in all_kept() if one.run == done.folder.name)
    yield Stack(kept, env, registry)
    cleaned = nox("-s", "clean", "--", kept.run, env=env)
    assert f"{kept.run}: removed 2 containers" in cleaned.stdout, cleaned.stdout + cleaned.stderr
    assert kept not in all_kept()
    assert list(find(engine, kept.run)) == []


def judged(found: NoxRun) -> dict[str, dict[str, str]]:
    """Return the status of every check that could be asked, by probe."""
    return {
        cell["probe"]: {
            name: one["status"]
            for name, one in cell["checks"].items()
            if one["status"] != "unsupported"
        }
        for cell in found.cells
    }


ASKED = {"listed", "status", "timeline", "tags", "artifact_search", "logs"}


def test_the_ui_joins_the_network_of_the_kept_database(
    stack: Stack, engine: Engine, tmp_path: Path
):
    found = stack.ui(tmp_path, "--from", stack.kept.run, "--check")
    assert found.code == 0, found.output
    assert "ui: UI backend from the service's image, in a container" in found.output
    assert "UI backend of v2.5.0, " in found.output
    checks = judged(found)
    live = checks.pop("CompatLiveFlow")
    assert set(live) >= {"listed", "status", "tags"}
    assert set(live.values()) == {"pass"}
    assert set(checks) == {"card", "failing"}
    for one in checks.values():
        assert set(one) >= {*ASKED, "data_kept"}
        assert set(one.values()) == {"pass"}
    assert checks["card"]["card"] == "pass"
    assert list(find(engine, found.folder.name)) == []


def test_another_database_is_reached_on_this_machine(stack: Stack, engine: Engine, tmp_path: Path):
    database = stack.kept.database
    with closing(database.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT max(run_number) FROM runs_v3 WHERE flow_id = 'FailingFlow'")
        (number,) = cursor.fetchone()
    found = stack.ui(
        tmp_path,
        *("--database-url", database.url, "--backend", "docker", "--ui-version", "v2.5.0"),
        # Each log and card that nobody can read is awaited: one run tells enough.
        *("--check", "--run", f"FailingFlow/{number}"),
    )
    assert "in a container, over" not in found.output
    (one,) = judged(found).values()
    # Nobody says where this database's data lies: what rows tell is shown all the same.
    assert {one[name] for name in ("listed", "status", "timeline", "tags")} == {"pass"}
    assert "data_kept" not in one
    assert database.password not in found.output
    assert database.password not in (found.folder / "journal.jsonl").read_text()
    assert list(find(engine, found.folder.name)) == []


def test_the_page_of_an_image_of_its_own_talks_to_the_backend(
    stack: Stack, page_registry: str, engine: Engine, tmp_path: Path
):
    assert page_registry == stack.registry
    port, log = free_port(), tmp_path / "output"
    words = ("-s", "ui", "--", "--from", stack.kept.run, "--registry", stack.registry)
    words += ("--ui-port", str(port), "--ui-image", PAGE, "--results", str(tmp_path / "results"))
    with started(words, log, stack.env) as process:
        url = f"http://localhost:{port}"
        wait_until(lambda: url in log.read_text(), seconds=120, what="the UI", log=log)
        page = requests.get(url, timeout=30).text
        api = re.search(r'METAFLOW_SERVICE="([^"]+)"', page)
        assert api is not None, page
        assert api[1] != url
        answer = requests.get(f"{api[1]}/flows/CardFlow/runs", timeout=30)
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert [one["status"] for one in answer.json()["data"]] == ["completed"]
        assert requests.get(f"{api[1]}/", timeout=30).status_code == requests.codes.not_found
        assert end(process, signal.SIGINT) == 0, log.read_text()
    (results,) = (path for path in (tmp_path / "results").iterdir())
    assert list(find(engine, results.name)) == []


def test_a_detached_ui_is_removed_by_clean(stack: Stack, engine: Engine, tmp_path: Path):
    clone = page_context(tmp_path / "page")
    git(clone, "init", "--quiet")
    git(clone, "add", "--all")
    git(clone, "commit", "--quiet", "--message", "a page")
    results = tmp_path / "results"
    done = stack.ui(results, "--from", stack.kept.run, "--ui-checkout", str(clone), "--detach")
    assert done.code == 0, done.output
    (folder,) = results.iterdir()
    url = re.search(r"http://localhost:\d+", done.output)
    assert url is not None
    assert "METAFLOW_SERVICE" in requests.get(url[0], timeout=30).text
    assert len(find(engine, folder.name).containers) == 2

    cleaned = nox("-s", "clean", env=stack.env)

    assert f"{folder.name}: removed 2 containers" in cleaned.stdout
    assert f"{stack.kept.run}: kept as asked for" in cleaned.stdout
    assert list(find(engine, folder.name)) == []


def test_a_version_without_an_image_is_said(stack: Stack, tmp_path: Path):
    found = stack.ui(tmp_path, "--from", stack.kept.run, "--ui-version", "v2.4.11", "--detach")
    assert found.code != 0
    assert "netflixoss/metaflow_metadata_service:v2.4.11" in found.output
    assert "there is no such tag" in found.output
    assert list(tmp_path.iterdir()) == []  # refused before anything was written
