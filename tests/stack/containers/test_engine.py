"""Which engine is meant, whether it answers, and what its errors mean."""

from __future__ import annotations

import json
import os
import pwd
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from hashlib import sha256
from pathlib import Path

import pytest

from harness.machine.errors import InfraError
from harness.stack.containers.engine import Engine, find_endpoint, find_engine, next_step
from tests.stack.containers.fake_engine import ImageEngine


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for the configuration of docker's command line."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    return tmp_path


def make_context(config: Path, name: str, host: str) -> None:
    """Write a docker context as ``docker context create`` does."""
    folder = config / "contexts" / "meta" / sha256(name.encode()).hexdigest()
    folder.mkdir(parents=True)
    meta = {"Name": name, "Metadata": {}, "Endpoints": {"docker": {"Host": host}}}
    (folder / "meta.json").write_text(json.dumps(meta))


@pytest.mark.usefixtures("config")
def test_without_anything_named_it_is_the_default_socket() -> None:
    endpoint = find_endpoint({})
    assert (endpoint.host, endpoint.origin) == ("unix:///var/run/docker.sock", "the default")


def test_docker_host_goes_before_the_chosen_context(config: Path) -> None:
    make_context(config, "other", "unix:///other.sock")
    (config / "config.json").write_text('{"currentContext": "other"}')

    assert find_endpoint({}).host == "unix:///other.sock"
    assert find_endpoint({}).origin == "docker context other"
    assert find_endpoint({"DOCKER_HOST": "unix:///named.sock"}).host == "unix:///named.sock"
    named = {"DOCKER_HOST": "unix:///named.sock", "DOCKER_CONTEXT": "other"}
    assert find_endpoint(named).host == "unix:///other.sock"


@pytest.mark.usefixtures("config")
def test_a_context_that_does_not_exist_is_named() -> None:
    with pytest.raises(InfraError, match="no docker context 'nowhere'"):
        find_engine({"DOCKER_CONTEXT": "nowhere"})


@pytest.mark.parametrize("host", ["tcp://build.example.com:2375", "ssh://me@build.example.com"])
def test_an_engine_of_another_machine_is_not_used(host: str) -> None:
    with pytest.raises(InfraError, match=r"not reachable on 127\.0\.0\.1"):
        find_engine({"DOCKER_HOST": host})


def test_a_proxy_of_the_machine_does_not_come_between(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with closing(ImageEngine()) as fake, closing(find_engine({"DOCKER_HOST": fake.host})) as found:
        assert found.description.startswith("Docker Engine 99.0 at ")


def test_no_engine_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(InfraError, match=f"no Docker engine answers at unix://{tmp_path}/none"):
        find_engine({"DOCKER_HOST": f"unix://{tmp_path}/none"})


@contextmanager
def nobody() -> Iterator[None]:
    """Be somebody without rights; needs root."""
    os.seteuid(pwd.getpwnam("nobody").pw_uid)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_no_permission_on_the_socket_says_what_to_join(tmp_path: Path) -> None:
    path = tmp_path / "docker.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        path.chmod(0o600)
        for folder in (tmp_path, *tmp_path.parents[:2]):
            folder.chmod(0o755)
        with nobody(), pytest.raises(InfraError, match=r"no permission .* join the group 'docker'"):
            find_engine({"DOCKER_HOST": f"unix://{path}"})


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.docker
def test_no_permission_on_the_socket_of_the_engine(engine: Engine) -> None:
    with nobody(), pytest.raises(InfraError, match=f"no permission .* at {engine.host} "):
        find_engine({"DOCKER_HOST": engine.host})


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ("write /var/lib/docker/tmp/x: no space left on device", "docker system df"),
        ("manifest for postgres:99 not found: manifest unknown", "no such tag"),
        ("pull access denied for nobody/nothing", "docker login"),
        ("toomanyrequests: You have reached your pull rate limit", "--registry PREFIX"),
        ("dial tcp: lookup registry-1.docker.io: no such host", "--backend embedded"),
        ("net/http: request canceled (Client.Timeout exceeded)", "--pull never"),
        ("no matching manifest for linux/arm64/v8", "DOCKER_DEFAULT_PLATFORM=linux/amd64"),
        ("Bind for 127.0.0.1:5432 failed: port is already allocated", "--database-port"),
    ],
)
def test_what_an_engine_says_is_followed_by_what_to_do(said: str, advice: str) -> None:
    assert advice in next_step(said)


def test_an_unknown_message_stands_for_itself() -> None:
    assert next_step("something else") == ""


@pytest.mark.docker
def test_a_context_leads_to_the_engine(engine: Engine, config: Path) -> None:
    make_context(config, "mine", engine.host)
    (config / "config.json").write_text("{}")
    found = find_engine({"DOCKER_CONTEXT": "mine"})
    found.close()
    assert found.description.startswith("Docker Engine ")
    assert found.description.endswith("(docker context mine)")
