"""Runs over containers: green, alone on the engine, and gone without a trace."""

from __future__ import annotations

import io
import os
import re
import shutil
import signal
import socket
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import psycopg2
import pytest
import requests
from rich.console import Console

from harness.catalog.interpreters import python_of
from harness.catalog.releases import Service
from harness.catalog.selectors import select_services
from harness.catalog.versions import load
from harness.cli.options import parse
from harness.cli.planning import OnPython, make_plan
from harness.client.cell import CellOutcome
from harness.core.outcome import Status
from harness.machine.locks import lock_path
from harness.machine.processes import marked_processes, wait_until
from harness.report.terminal import Screen
from harness.run.run import Run
from harness.stack.containers.engine import Engine
from harness.stack.containers.own import LABEL, LOCK_LABEL, find
from harness.stack.reference.levels import LEVELS
from tests.e2e.nox_runs import (
    NoxRun,
    command,
    end,
    environment,
    finished_run,
    nox,
    run,
    started,
    without_faults_of_1_0,
)
from tests.e2e.relay import Relay
from tests.images.build import (
    BASE,
    MOVED_TAG,
    SERVICE,
    push,
    push_postgres,
    service_context,
    stand_ins,
)

pytestmark = [pytest.mark.e2e, pytest.mark.docker]

SMALL = ("--metaflow", "2.19.39", "--probe", "hello", "--jobs", "2")
TWO_CLIENTS = ("--metaflow", "2.2.13,2.19.39")

NO_STAND_IN = "v2.4.11"
"""A release whose tag the registry does not have."""

GROUPS = select_services(load(), "groups", "released")
"""What a first run gets, on which no service is chosen."""

DECLARED = "2.0.0"
"""What 1.0.1 left it cannot migrate, as expectations.json declares and its stand-in shows."""

ONE_OF_EACH_LEVEL = select_services(
    load(), f"1.0.1,{DECLARED},2.0.4,2.0.6,v2.2.4,v2.3.2,v2.5.0", "released"
)
"""Those whose stand-ins differ by more than the version they report."""
LOCKS = lock_path("any").parent
SECONDS = 300.0
WALK_SECONDS = 1500.0
"""For two clients and every group of services, on a machine with other work."""


def things(engine: Engine) -> set[str]:
    """Return the ids of all containers, networks and volumes on the engine.

    But for those of other checkouts of this project that use the engine meanwhile.
    """
    client = engine.client
    return {
        str(thing.id)
        for kind in (
            client.containers.list(all=True, ignore_removed=True),
            client.networks.list(),
            client.volumes.list(),
        )
        for thing in kind
        if lock_of(thing).is_relative_to(LOCKS)
    }


def lock_of(thing: Any) -> Path:
    """Return the lock of the run a thing belongs to; of what is no run's, the folder of ours."""
    labels = getattr(thing, "labels", None) or thing.attrs.get("Labels") or {}
    return Path(labels.get(LOCK_LABEL, LOCKS))


@pytest.fixture
def env(engine: Engine) -> dict[str, str]:
    """The variables of a nox run that uses the engine."""
    return environment(DOCKER_HOST=engine.host)


@pytest.fixture
def over_containers(
    registry: str, env: dict[str, str], tmp_path: Path, engine: Engine
) -> Iterator[Callable[..., NoxRun]]:
    """Return a function that runs a session; what was on the engine before must be there after."""
    before = things(engine)

    def over_containers(session: str, *options: str, **more: Any) -> NoxRun:
        return run(session, tmp_path, "--registry", registry, *options, **{"env": env, **more})

    yield over_containers
    assert things(engine) == before


@pytest.fixture
def foreign(engine: Engine, registry: str) -> Iterator[Any]:
    """A container of somebody else's, from ``postgres:latest`` and with the name of a role."""
    pulled = engine.client.images.pull(f"{registry}/library/postgres:{load().postgres.default}")
    pulled.tag("postgres", "latest")
    container = engine.client.containers.run(
        "postgres:latest", detach=True, name="postgres", environment={"POSTGRES_PASSWORD": "theirs"}
    )
    container.reload()  # what was answered at its creation has no time of start
    yield container
    container.remove(v=True, force=True)
    engine.client.images.remove("postgres:latest")


OverServices = Callable[[str, Sequence[Service]], NoxRun]


@pytest.fixture
def over_services(
    registry: str, env: dict[str, str], tmp_path: Path, engine: Engine
) -> Iterator[OverServices]:
    """Return a function that runs a session over services with the images a user gets.

    As users do first, no probe is chosen, and no service where it is given GROUPS.

    Where the registry is the engine's mirror, images are pulled by their published names; they
    stay on the engine after the run, and are removed here.
    """
    before, images = things(engine), tags(engine)
    declared = without_faults_of_1_0(tmp_path / "expectations.json")
    mirror = () if "COMPAT_REGISTRY" in os.environ else ("--registry", registry)

    def over_services(session: str, services: Sequence[Service]) -> NoxRun:
        names = ",".join(service.name for service in services)
        chosen = () if services == GROUPS else ("--service", names)
        words = (*TWO_CLIENTS, *chosen, *mirror, "--expectations", str(declared))
        return run(session, tmp_path, *words, env=env, seconds=WALK_SECONDS)

    yield over_services
    for tag in tags(engine) - images:
        engine.client.images.remove(tag)
    assert things(engine) == before


def tags(engine: Engine) -> set[str]:
    """Return the names of all images on the engine."""
    return {tag for image in engine.client.images.list() for tag in image.tags}


def assert_untouched(foreign: Any) -> None:
    """Assert that a container of somebody else's still runs, and is the one that was started."""
    before = foreign.id, foreign.attrs["Created"], foreign.attrs["State"]["StartedAt"]
    foreign.reload()
    assert foreign.status == "running"
    assert (foreign.id, foreign.attrs["Created"], foreign.attrs["State"]["StartedAt"]) == before


services = pytest.mark.parametrize(
    "services",
    [ONE_OF_EACH_LEVEL, pytest.param(GROUPS, marks=pytest.mark.exhaustive)],
    ids=["levels", "groups"],
)


@services
def test_compat_is_green_over_released_services(
    foreign: Any, over_services: OverServices, services: Sequence[Service]
) -> None:
    done = over_services("compat", services)

    assert done.code == 0, done.output
    assert "backend: docker (a Docker engine answers: " in done.output.splitlines()[0]
    columns = [service.name for service in services]
    assert len(done.cells) == 2 * len(columns)
    cells = {(cell["client"], cell["service"]) for cell in done.cells}
    assert cells == set(product(["2.2.13", "2.19.39"], columns))
    assert {cell["status"] for cell in done.cells} == {Status.PASS.value}
    notes = [entry["text"] for entry in done.entries if entry["kind"] == "note"]
    assert any(re.search(r"v2\.5\.0 is image \S+:v2\.5\.0 sha256:[0-9a-f]{64}", n) for n in notes)
    assert "v2.2.4 reports 2.2.3 to clients, not 2.2.4" in notes
    assert "serving on" in (done.folder / "logs" / "services" / "v2.5.0.log").read_text()
    assert_untouched(foreign)


@services
def test_fixed_db_is_green_through_released_services(
    foreign: Any, over_services: OverServices, services: Sequence[Service]
) -> None:
    done = over_services("fixed_db", services)

    assert done.code == 0, done.output
    stages = [entry for entry in done.entries if entry["kind"] == "stage"]
    assert [stage["service"] for stage in stages] == [service.name for service in services]
    (known,) = (stage for stage in stages if stage["service"] == DECLARED)
    assert (known["status"], known["schema_after"] or 0, known["lost"]) == ("expected-fail", 0, [])
    good = [service for service in services if service.name != DECLARED]
    stages = [stage for stage in stages if stage is not known]
    assert [stage["reported"] for stage in stages] == [service.reported for service in good]
    assert [stage["schema_after"] or 0 for stage in stages] == [one.schema for one in good]
    assert {stage["status"] for stage in stages} == {Status.PASS.value}
    statuses = Counter(cell["status"] for cell in done.cells)
    assert statuses == {Status.PASS.value: 2 * len(good), Status.EXPECTED_FAIL.value: 2}
    for before, stage in pairwise(stages):
        changed = before["schema_after"] != stage["schema_after"]
        assert bool(stage["migrations"]) == changed
        if not changed:
            assert stage["rollback"] is None
        elif before["schema_after"]:
            assert stage["rollback"] == "unsafe"
            assert "the migration API refuses the schema" in " ".join(stage["rollback_evidence"])
    assert_untouched(foreign)


@pytest.fixture(scope="module")
def second_postgres(engine: Engine, registry: str) -> str:
    """The tag of another image of PostgreSQL, in the registry."""
    first = f"{registry}/library/postgres:{load().postgres.default}"
    push(engine.client, f"{registry}/library/postgres:second", f"FROM {first}\nENV SECOND=1\n")
    return "second"


def test_a_walk_goes_over_each_tag_of_postgres(
    over_containers: Callable[..., NoxRun], second_postgres: str
) -> None:
    tags = [load().postgres.default, second_postgres]
    options = ["--service", "2.0.6,v2.5.0", "--postgres", ",".join(tags)]

    done = over_containers("fixed_db", *SMALL, *options)

    assert done.code == 0, done.output
    cells = {(cell["postgres"], cell["service"]): cell for cell in done.cells}
    assert cells.keys() == set(product(tags, ["2.0.6", "v2.5.0"]))
    assert {cell["status"] for cell in done.cells} == {Status.PASS.value}
    stages = [entry for entry in done.entries if entry["kind"] == "stage"]
    assert [stage["status"] for stage in stages] == [Status.PASS.value] * 4
    assert len({stage["walk"] for stage in stages}) == 2
    for (tag, _), cell in cells.items():
        assert f"--postgres {tag} " in f"{cell['rerun']} "
        # Each has a server of its own, whose log says that it was started.
        log = (done.folder / "logs" / f"postgres-{tag}.log").read_text()
        assert "database system is ready to accept connections" in log


@pytest.fixture(scope="module")
def newer_postgres(engine: Engine, registry: str) -> str:
    """The tag of an image of a newer PostgreSQL than the default's, in the registry."""
    push_postgres(engine.client, registry, "18")
    return "18"


def test_a_walk_moves_its_database_to_a_newer_image(
    over_containers: Callable[..., NoxRun], newer_postgres: str
) -> None:
    tags = [load().postgres.default, newer_postgres]
    options = ["--service", "v2.5.0", "--postgres-upgrade", ",".join(tags)]

    done = over_containers("fixed_db", *SMALL, *options)

    assert done.code == 0, done.output
    stages = [entry for entry in done.entries if entry["kind"] == "stage"]
    found = [(stage["postgres"], stage["direction"], stage["status"]) for stage in stages]
    assert found == [(tags[0], "upgrade", "pass"), (tags[1], "move", "pass")]
    assert stages[1]["carried"] == stages[0]["rows"] > 0
    assert stages[1]["rereads"] == 1
    assert [cell["status"] for cell in done.cells] == [Status.PASS.value] * 2
    # The stand-in of the default is Debian's.
    on = [cell["provenance"]["database"].partition(".")[0] for cell in done.cells]
    assert on == ["15", newer_postgres]


def test_two_runs_side_by_side(
    registry: str, env: dict[str, str], tmp_path: Path, engine: Engine
) -> None:
    before = things(engine)
    places = [tmp_path / "one", tmp_path / "two"]
    options = ["--registry", registry, "--probe", "hello", "--service", "v2.5.0"]
    # Different clients: nox itself shares one environment per client between runs.
    clients = ["2.19.39", "2.18.13"]
    runs = [
        subprocess.Popen(
            command("-s", "compat", "--", *options, "--results", str(place), "--metaflow", client),
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for place, client in zip(places, clients, strict=True)
    ]
    outputs = [process.communicate(timeout=SECONDS)[0] for process in runs]

    for process, output, place in zip(runs, outputs, places, strict=True):
        assert process.returncode == 0, output
        assert [cell["status"] for cell in finished_run(0, output, place).cells] == ["pass"]
    assert things(engine) == before


def test_clean_after_kill_9_leaves_others_alone(
    foreign: Any, registry: str, env: dict[str, str], tmp_path: Path, engine: Engine
) -> None:
    before = things(engine)
    options = ["--registry", registry, *SMALL, "--service", "v2.5.0", "--results", str(tmp_path)]
    with (tmp_path / "output").open("w") as output:
        process = subprocess.Popen(
            command("-s", "compat", "--", *options),
            env=env,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        run_id = await_client(tmp_path, process)
        alive = nox("-s", "clean", env=env)
        assert f"{run_id}: left alone: it is running" in alive.stdout
        assert process.poll() is None
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert things(engine) > before

    cleaned = nox("-s", "clean", env=env)

    assert cleaned.returncode == 0, cleaned.stderr
    assert f"{run_id}: removed 2 containers, 1 networks, 1 volumes" in cleaned.stdout
    assert things(engine) == before
    assert_untouched(foreign)
    assert [mark for _, mark in marked_processes() if mark.startswith(run_id)] == []
    assert not (tmp_path / run_id / "work").exists()
    assert run_id not in nox("-s", "clean", env=env).stdout


def await_client(results: Path, process: subprocess.Popen[Any], cell: str = "compat__") -> str:
    """Wait until a client of the run works on a cell; return the id of the run."""

    def works() -> bool:
        assert process.poll() is None, (results / "output").read_text()
        name = (results / "latest").resolve().name
        return any(mark.startswith(f"{name}/{cell}") for _, mark in marked_processes())

    wait_until(works, seconds=SECONDS, what="a client of the run", log=results / "output")
    return (results / "latest").resolve().name


@pytest.mark.parametrize(
    "chosen", [("compat", "--service", "v2.5.0"), ("fixed_db", "--path", "2.0.6,v2.5.0")]
)
def test_keep_leaves_the_last_stack_until_it_is_named(
    registry: str, env: dict[str, str], tmp_path: Path, engine: Engine, chosen: tuple[str, ...]
) -> None:
    before = things(engine)
    session, *service = chosen
    done = run(session, tmp_path, "--registry", registry, *SMALL, *service, "--keep", env=env)
    run_id = done.folder.name
    try:
        assert done.code == 0, done.output
        kept = re.search(
            r"kept: v2\.5\.0 at (http://127\.0\.0\.1:\d+) .*\n"
            r"kept: the database (postgresql://\S+) as v2\.5\.0 left it\n"
            rf"  look at it with: nox -s ui -- --from {run_id}\n"
            rf"  remove it with: (nox -s clean -- {run_id})\n",
            done.output,
        )
        assert kept, done.output
        url, database, remove = kept.groups()
        containers = find(engine, run_id).containers
        limits = {
            one.name.rpartition("-")[2]: one.attrs["HostConfig"]["Memory"] for one in containers
        }
        assert limits == {"database": 1 << 30, "v2.5.0": 512 << 20}
        by_chance = nox("-s", "clean", env=env)
        assert remove in by_chance.stdout
        answer = requests.get(f"{url}/ping", timeout=SECONDS)
        assert answer.headers["METADATA_SERVICE_VERSION"] == "2.5.0"
        assert runs_in(database) == len(done.cells)
    finally:
        removed = nox("-s", "clean", "--", run_id, env=env)
    assert removed.returncode == 0, removed.stdout + removed.stderr
    assert things(engine) == before


def runs_in(database: str) -> int:
    """Count the runs of the probe in the database of an URL."""
    with closing(psycopg2.connect(database)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM runs_v3 WHERE flow_id = 'HelloFlow'")
        (found,) = cursor.fetchone()
    return int(found)


def test_an_unknown_tag_is_infra_for_that_service_alone(
    over_containers: Callable[..., NoxRun],
) -> None:
    done = over_containers("compat", *SMALL, "--service", f"{NO_STAND_IN},v2.5.0")

    assert done.code != 0
    assert [cell["status"] for cell in done.cells] == [Status.INFRA.value, Status.PASS.value]
    assert "there is no such tag" in done.cells[0]["checks"]["run"]["reason"]


def test_an_awkward_password_is_that_of_a_container_too(
    over_containers: Callable[..., NoxRun],
) -> None:
    asked = ("--scenario", "none,awkward-password", "--backend", "docker")
    done = over_containers("compat", *SMALL, "--service", "v2.5.0", *asked)

    assert done.code == 0, done.output
    # At the same time: either may be the first.
    statuses = {cell["id"].rpartition("/")[2]: cell["status"] for cell in done.cells}
    assert statuses == dict.fromkeys(("hello", "scenario=awkward-password"), Status.PASS.value)


def test_another_release_than_was_asked_for_is_infra(
    over_containers: Callable[..., NoxRun],
) -> None:
    done = over_containers("compat", *SMALL, "--service", MOVED_TAG)

    assert done.code != 0
    assert [cell["status"] for cell in done.cells] == [Status.INFRA.value]
    reason = done.cells[0]["checks"]["run"]["reason"]
    assert f"{MOVED_TAG} was asked for, and 2.3.2 answers, on schema 20220503175500" in reason
    assert "sha256:" in reason


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("compat", "--postgres-image", "none"), "--postgres-image postgres:none: asking for "),
        (("compat", "--postgres", "16,16-none"), "--postgres 16-none: asking for "),
        (("fixed_db", "--postgres-upgrade", "16,18-none"), "--postgres-upgrade 18-none: asking "),
        (("compat", "--postgres", "16-none", "--pull", "never"), "--postgres 16-none: the image "),
    ],
)
def test_an_image_of_postgres_that_is_not_to_be_had_starts_nothing(
    registry: str, env: dict[str, str], tmp_path: Path, given: Sequence[str], said: str
) -> None:
    session, *asked = given
    results = tmp_path / "results"
    words = ("--results", str(results), *SMALL, "--service", "v2.5.0", *asked)
    done = nox("-s", session, "--", *words, "--registry", registry, env=env)

    assert done.returncode != 0
    (line,) = [one for one in done.stderr.splitlines() if one.startswith("error:")]
    assert line.startswith(f"error: {said}"), line
    assert ("--pull is 'never'" if "never" in given else "there is no such tag") in line
    assert not results.exists()


def test_pull_never_says_which_image_is_missing(
    registry: str, engine: Engine, over_containers: Callable[..., NoxRun]
) -> None:
    # Without that of the database nothing would begin.
    engine.client.images.pull(f"{registry}/library/postgres:{load().postgres.default}")
    done = over_containers("compat", *SMALL, "--service", NO_STAND_IN, "--pull", "never")

    assert done.code != 0
    assert [cell["status"] for cell in done.cells] == [Status.INFRA.value]
    assert "--pull is 'never'" in done.output


@pytest.mark.skipif(
    "COMPAT_REGISTRY" not in os.environ, reason="COMPAT_REGISTRY names no mirror of the engine"
)
def test_remove_images_removes_what_the_run_pulled(
    registry: str, env: dict[str, str], tmp_path: Path, engine: Engine
) -> None:
    del registry  # it is the engine's mirror: images are pulled by their published names
    before = tags(engine)
    assert f"{SERVICE}:2.0.6" not in before, "the engine has it from elsewhere; remove it first"

    done = run("compat", tmp_path, *SMALL, "--service", "2.0.6", "--remove-images", env=env)

    assert done.code == 0, done.output
    assert f"pulled {SERVICE}:2.0.6" in done.output
    assert tags(engine) == before


def test_a_port_in_use_is_told_before_anything_starts(
    engine: Engine, env: dict[str, str], tmp_path: Path
) -> None:
    before = things(engine)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        words = ["--database-port", str(port), "--results", str(tmp_path / "results")]
        finished = nox("-s", "compat", "--", *words, env=env)

    assert finished.returncode == 2
    assert f"error: the database port {port} cannot be used" in finished.stderr
    assert "leave it out" in finished.stderr
    assert not (tmp_path / "results").exists()
    assert things(engine) == before


def test_an_engine_that_stops_in_mid_run_is_infra(
    registry: str, tmp_path: Path, engine: Engine
) -> None:
    before = things(engine)
    with closing(Relay(engine.host.removeprefix("unix://"))) as relay:
        options = ["--registry", registry, *SMALL, "--service", "v2.5.0"]
        with (tmp_path / "output").open("w") as output:
            process = subprocess.Popen(
                command("-s", "compat", "--", *options, "--results", str(tmp_path)),
                env=environment(DOCKER_HOST=relay.host),
                stdout=output,
                stderr=output,
            )
        run_id = await_client(tmp_path, process)
        relay.close()
    # An engine that stops takes its containers with it.
    for container in find(engine, run_id).containers:
        container.kill()
    code = process.wait(SECONDS)
    text = (tmp_path / "output").read_text()

    assert code != 0
    done = finished_run(code, text, tmp_path)
    assert [cell["status"] for cell in done.cells] == [Status.INFRA.value], text
    assert "does not answer any more" in text
    assert "nox -s clean" in text
    cleaned = nox("-s", "clean", env=environment(DOCKER_HOST=engine.host))
    assert f"{run_id}: removed 2 containers" in cleaned.stdout
    assert things(engine) == before


DOCKERFILE = """FROM {base}
COPY standin /opt
ENV PYTHONPATH=/opt/packages:/opt PYTHONDONTWRITEBYTECODE=1 {release}
WORKDIR /opt
CMD python3 start.py
"""


NEEDS_BUILDKIT = """FROM {base} as amd64-base
FROM {base} as arm64-base
FROM ${{TARGETARCH}}-base
COPY Dockerfile /
""" + DOCKERFILE.partition("\n")[2]
"""In the shape of the service's own Dockerfile: the old builder knows no TARGETARCH."""

LAST_WORDS = "waiting for what never comes"
BAD_ENDINGS = {"silent": "exec sleep infinity", "ends": "exit 3"}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A clone in the service's layout, at version 2.5.0, whose Dockerfile makes the stand-in."""
    folder = tmp_path / "checkout"
    for name in ("metadata_service/server", "migration_service/migration_server"):
        program = folder / "services" / f"{name}.py"
        program.parent.mkdir(parents=True)
        program.touch()
    ui = folder / "services" / "ui_backend_service" / "ui_server.py"
    ui.parent.mkdir()
    ui.touch()
    migrations = folder / "services" / "migration_service" / "migration_files"
    migrations.mkdir()
    (migrations / f"{max(LEVELS['2.5'].migrations)}_newest.sql").touch()
    (folder / "setup.py").write_text("from setuptools import setup\nsetup(version='2.5.0')\n")
    release = stand_ins()["v2.5.0"]
    (folder / "Dockerfile").write_text(DOCKERFILE.format(base=BASE, release=release.variables))
    (folder / "Dockerfile.broken").write_text(f"FROM {BASE}\nRUN echo it breaks here && false\n")
    for name, ending in BAD_ENDINGS.items():
        dockerfile = f"FROM {BASE}\nCMD echo {LAST_WORDS}; {ending}\n"
        (folder / f"Dockerfile.{name}").write_text(dockerfile)
    needs_buildkit = NEEDS_BUILDKIT.format(base=BASE, release=release.variables)
    (folder / "Dockerfile.buildkit").write_text(needs_buildkit)
    with service_context() as context:
        shutil.copytree(context, folder / "standin")
    git = ["git", "-C", str(folder), "-c", "user.name=t", "-c", "user.email=t@example.com"]
    for words in (["init", "-q", "-b", "feature"], ["add", "-A"], ["commit", "-q", "-m", "all"]):
        subprocess.run([*git, *words], check=True)
    return folder


def test_a_checkout_is_built_and_runs_beside_a_released_one(
    checkout: Path, over_containers: Callable[..., NoxRun], engine: Engine
) -> None:
    options = ["--service", "2.0.6,HEAD", "--checkout", str(checkout)]

    done = over_containers("compat", *SMALL, *options)

    assert done.code == 0, done.output
    kinds = {cell["service"]: cell["service_kind"] for cell in done.cells}
    assert kinds == {"2.0.6": "released", "HEAD": "checkout"}
    notes = [entry["text"] for entry in done.entries if entry["kind"] == "note"]
    assert any(note.startswith("HEAD is branch feature at ") for note in notes)
    assert engine.client.images.list(filters={"label": LABEL}) == []


def docker_commands() -> list[str]:
    """Return every docker command line of this machine, wherever on PATH it is."""
    folders = [*os.environ["PATH"].split(os.pathsep), *os.defpath.split(os.pathsep)]
    found = [shutil.which("docker", path=folder) for folder in folders if folder]
    return list({str(Path(one).resolve()): one for one in found if one})


def has_buildkit(docker: str, engine: Engine) -> bool:
    """Whether a command line builds with BuildKit: by itself up to 22, later by a plugin."""
    version = subprocess.run(
        [docker, "--host", engine.host, "version", "--format", "{{.Client.Version}}"],
        check=True,
        capture_output=True,
        text=True,
    )
    plugin = subprocess.run([docker, "buildx", "version"], check=False, capture_output=True)
    return int(version.stdout.partition(".")[0]) < 23 or plugin.returncode == 0


def test_a_dockerfile_that_needs_buildkit(
    checkout: Path,
    over_containers: Callable[..., NoxRun],
    engine: Engine,
    env: dict[str, str],
    tmp_path: Path,
) -> None:
    """Built and run by a command line with BuildKit; without, what is missing is said."""
    options = ["--service", "HEAD", "--checkout", str(checkout)]
    options += ["--dockerfile", "Dockerfile.buildkit", "--with-service-logs"]
    commands = {docker: has_buildkit(docker, engine) for docker in docker_commands()}
    assert True in commands.values(), f"none has BuildKit: {list(commands)}"
    first = tmp_path / "first-on-path"
    first.mkdir()
    env["PATH"] = f"{first}{os.pathsep}{os.environ['PATH']}"
    for docker, buildkit in commands.items():
        (first / "docker").unlink(missing_ok=True)
        (first / "docker").symlink_to(docker)

        done = over_containers("compat", *SMALL, *options)

        (cell,) = done.cells
        if buildkit:
            assert (done.code, cell["status"]) == (0, Status.PASS.value), done.output
            assert "HEAD | starting 2.5" in done.output
        else:
            assert cell["status"] == Status.INFRA.value
            reason = cell["checks"]["run"]["reason"]
            assert f"{first}/docker has no BuildKit, which TARGETARCH needs: install" in reason


def test_a_build_that_fails_shows_its_output(
    checkout: Path, over_containers: Callable[..., NoxRun]
) -> None:
    options = ["--checkout", str(checkout), "--dockerfile", "Dockerfile.broken"]

    done = over_containers("compat", *SMALL, *options, "--service", "2.0.6,HEAD")

    assert done.code != 0
    status = {cell["service"]: cell["status"] for cell in done.cells}
    assert status == {"2.0.6": Status.PASS.value, "HEAD": Status.INFRA.value}
    assert "it breaks here" in done.output


def test_a_service_that_ends_at_once_fails_with_its_log(
    checkout: Path, over_containers: Callable[..., NoxRun]
) -> None:
    options = ["--checkout", str(checkout), "--dockerfile", "Dockerfile.ends"]

    done = over_containers("compat", *SMALL, *options, "--service", "HEAD")

    assert done.code != 0
    assert [cell["status"] for cell in done.cells] == [Status.FAIL.value]
    reason = done.cells[0]["checks"]["run"]["reason"]
    ended = "the service HEAD ended with exit code 3 by itself, while its database lives"
    assert reason.startswith(f"{ended}; last lines of")
    assert reason.endswith(LAST_WORDS)
    assert f"rerun: {done.cells[0]['rerun']}" in done.output


@pytest.fixture(scope="module")
def bad_postgres(engine: Engine, registry: str) -> None:
    """Images tagged postgres:ends and postgres:silent, in the registry."""
    for tag, ending in BAD_ENDINGS.items():
        dockerfile = f"FROM {BASE}\nCMD []\nENTRYPOINT echo {LAST_WORDS}; {ending}\n"
        push(engine.client, f"{registry}/library/postgres:{tag}", dockerfile)


@pytest.mark.usefixtures("bad_postgres")
@pytest.mark.parametrize("session", ["compat", "fixed_db"])
def test_a_database_that_ends_at_once_is_infra_with_its_log(
    over_containers: Callable[..., NoxRun], session: str
) -> None:
    options = ["--postgres-image", "ends", "--service", "2.0.6,v2.5.0"]

    done = over_containers(session, *SMALL, *options)

    assert done.code != 0
    assert [cell["status"] for cell in done.cells] == [Status.INFRA.value] * 2
    for cell in done.cells:
        reason = cell["checks"]["run"]["reason"]
        assert "-database ended with exit code 3; last lines of" in reason
        assert reason.endswith(LAST_WORDS)
    log = (done.folder / "logs" / "postgres.log").read_text()
    assert log.count(LAST_WORDS) == 1, "it is started once, not once per service"


@pytest.fixture
def impatient(
    registry: str,
    engine: Engine,
    newest_client: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Callable[..., CellOutcome]]:
    """Return a function that runs a cell in this process, less patient than a run of nox is."""
    before = things(engine)

    def impatient(patience: str, *options: str) -> CellOutcome:
        monkeypatch.setattr(patience, 3.0)
        given = ["--registry", registry, *SMALL, *options, "--results", str(tmp_path)]
        chosen = parse("compat", given, load(), lambda: engine.description)
        plan = make_plan(
            chosen, [OnPython(one, python_of(newest_client)) for one in chosen.clients]
        )
        one_run = Run(chosen, plan, Screen(Console(file=io.StringIO())))
        try:
            with one_run.watched():
                (outcome,) = one_run.begin(plan.cells, lambda _: newest_client).outcomes()
        finally:
            one_run.end()
        return outcome

    yield impatient
    assert things(engine) == before


@pytest.mark.usefixtures("bad_postgres")
@pytest.mark.parametrize(
    ("patience", "options", "what"),
    [
        (
            "harness.stack.database.container._READY_SECONDS",
            ("--postgres-image", "silent", "--service", "v2.5.0"),
            "no stack for v2.5.0: PostgreSQL in the container ",
        ),
        (
            "harness.stack.service.migration.READY_SECONDS",
            ("--dockerfile", "Dockerfile.silent", "--service", "HEAD"),
            "no stack for HEAD: the migration API of HEAD at http://127.0.0.1:",
        ),
    ],
    ids=["database", "service"],
)
def test_what_never_answers_is_infra_with_its_log(
    checkout: Path,
    impatient: Callable[..., CellOutcome],
    patience: str,
    options: tuple[str, ...],
    what: str,
) -> None:
    outcome = impatient(patience, "--checkout", str(checkout), *options)

    assert outcome.status is Status.INFRA
    reason = outcome.checks["run"].reason
    assert reason.startswith(what)
    assert " was not ready within 3 s; last lines of " in reason
    assert reason.endswith(LAST_WORDS)


def test_ctrl_c_leaves_nothing(
    registry: str, env: dict[str, str], tmp_path: Path, engine: Engine
) -> None:
    before = things(engine)
    options = ["--registry", registry, *SMALL, "--service", "v2.5.0", "--results", str(tmp_path)]
    with started(("-s", "compat", "--", *options), tmp_path / "output", env) as process:
        run_id = await_client(tmp_path, process)
        code = end(process, signal.SIGINT)

    assert code != 0
    assert things(engine) == before
    assert [mark for _, mark in marked_processes() if mark.startswith(run_id)] == []
