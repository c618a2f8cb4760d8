"""The Docker engine: which one is meant, whether it answers, and what its errors mean."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import docker
import requests
from docker.context import ContextAPI
from docker.errors import APIError, DockerException
from docker.tls import TLSConfig

from harness.machine.errors import InfraError, one_line

CONFLICT = 409
"""The status an engine answers with when something is in use, or being removed just now."""

_DEFAULT = "unix:///var/run/docker.sock"
_ANSWER_SECONDS = 5
"""How long to wait for an engine that may not be there; one that is answers in milliseconds."""
_REQUEST_SECONDS = 120
_HERE = {"127.0.0.1", "localhost", "::1"}


@dataclass(frozen=True)
class Endpoint:
    """Where an engine is expected.

    Attributes:
        host: its address: ``unix:///var/run/docker.sock``, ``tcp://127.0.0.1:2375``.
        origin: what named it, for messages.
        tls: of a context that has keys.
    """

    host: str
    origin: str
    tls: TLSConfig | bool = False

    @property
    def is_here(self) -> bool:
        """Whether ports the engine opens on 127.0.0.1 are this machine's."""
        url = urlsplit(self.host)
        return url.scheme in {"unix", "npipe"} or url.hostname in _HERE


def find_endpoint(environment: Mapping[str, str]) -> Endpoint:
    """Return the endpoint that docker's own command line would use.

    That is DOCKER_CONTEXT, then DOCKER_HOST, then the context chosen by ``docker context use``.

    Raises:
        InfraError: for a context that does not exist.
    """
    name = environment.get("DOCKER_CONTEXT", "")
    host = environment.get("DOCKER_HOST", "")
    if host and not name:
        return Endpoint(host, "DOCKER_HOST", _tls_of(environment))
    context = ContextAPI.get_context(name or None)
    if context is None:
        raise InfraError(f"there is no docker context {name!r}; see: docker context ls")
    if context.Name == "default":
        return Endpoint(_DEFAULT, "the default")
    origin = f"docker context {context.Name}"
    return Endpoint(str(context.Host), origin, context.TLSConfig or False)


def _tls_of(environment: Mapping[str, str]) -> TLSConfig | bool:
    """Return what DOCKER_TLS_VERIFY and DOCKER_CERT_PATH say, as docker's command line reads it."""
    if not environment.get("DOCKER_TLS_VERIFY"):
        return False
    keys = Path(environment.get("DOCKER_CERT_PATH") or Path.home() / ".docker")
    return TLSConfig(
        client_cert=(str(keys / "cert.pem"), str(keys / "key.pem")),
        ca_cert=str(keys / "ca.pem"),
        verify=True,
    )


class Engine:
    """An engine that has answered.

    Attributes:
        client: of the Docker SDK.
        description: for the first line printed: ``Docker Engine 20.10.24 (DOCKER_HOST)``.
        host: its address, for docker's command line.
    """

    def __init__(self, client: docker.DockerClient, endpoint: Endpoint, version: str) -> None:
        self.client = client
        self.host = endpoint.host
        self.description = f"Docker Engine {version} at {endpoint.host} ({endpoint.origin})"

    @contextmanager
    def doing(self, what: str) -> Iterator[None]:
        """Turn the engine's errors within into InfraError, with the cause and the next step.

        Args:
            what: the action that failed, for the message: ``starting the container NAME``.
        """
        try:
            yield
        except (DockerException, requests.RequestException, OSError) as error:
            raise InfraError(f"{what}: {self.explain(error)}") from error

    def explain(self, error: Exception) -> str:
        """Return what an error means and what to do, in one line."""
        if isinstance(error, APIError):
            text = " ".join(str(error.explanation or error).split())
            return f"the engine answered: {text}{next_step(text)}"
        return (
            f"the Docker engine at {self.host} does not answer any more ({one_line(error)}); "
            "when it is back, nox -s clean removes what was left on it"
        )

    def close(self) -> None:
        """Close the connections. Safe to call twice."""
        self.client.close()


class _Straight(docker.APIClient):
    """Asks an engine straight: the machine's http_proxy is for the world outside."""

    def merge_environment_settings(self, *given: Any) -> Any:
        """Merge what a request is given with the session's own alone."""
        # The SDK asks the first time before anybody has the session.
        self.trust_env = False
        return super().merge_environment_settings(*given)


class _Client(docker.DockerClient):
    def __init__(self, **given: Any) -> None:
        self.api = _Straight(**given)


def find_engine(environment: Mapping[str, str] = os.environ) -> Engine:
    """Return the engine that docker's own command line would use, after it has answered.

    Raises:
        InfraError: no engine, no permission, or one whose ports this machine cannot reach.
    """
    endpoint = find_endpoint(environment)
    if not endpoint.is_here:
        raise InfraError(
            f"the Docker engine at {endpoint.host} ({endpoint.origin}) is another machine's, and "
            "the ports of its containers are not reachable on 127.0.0.1 here"
        )
    try:
        _knock(endpoint)
        client = _Client(
            base_url=endpoint.host, tls=endpoint.tls, version="auto", timeout=_ANSWER_SECONDS
        )
        version = str(client.version()["Version"])
    except (DockerException, requests.RequestException, OSError) as error:
        raise InfraError(_why_absent(endpoint, error)) from error
    # Only now: the short limit was to find out whether one answers at all.
    client.api.timeout = _REQUEST_SECONDS
    return Engine(client, endpoint, version)


def _knock(endpoint: Endpoint) -> None:
    """Connect once to a unix socket: the SDK leaves its own open when that fails."""
    url = urlsplit(endpoint.host)
    if url.scheme == "unix":
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_ANSWER_SECONDS)
            connection.connect(url.path)


def _why_absent(endpoint: Endpoint, error: Exception) -> str:
    where = f"at {endpoint.host} ({endpoint.origin})"
    text = one_line(error)
    if "Permission denied" in text:
        return (
            f"no permission to use the Docker engine {where}; "
            "join the group 'docker' (and log in again), or use rootless Docker"
        )
    if "No such file" in text or "Connection refused" in text:
        return f"no Docker engine answers {where}; start it, or name another by DOCKER_HOST"
    return f"no Docker engine answers {where}: {text}"


# Told apart by their words, for engines do not number them; the first that fits counts.
_NEXT_STEPS = {
    "no space left on device": "the engine's disk is full: docker system df shows what fills it; "
    "fixed_db needs less of it with --remove-images",
    "toomanyrequests": "the registry limits pulls: docker login, or --registry PREFIX for a mirror",
    "no matching manifest": "the image is not built for this machine's processor; "
    "DOCKER_DEFAULT_PLATFORM=linux/amd64 runs it emulated",
    "manifest unknown": "there is no such tag",
    "not found: manifest": "there is no such tag",
    "pull access denied": "there is no such image, or it needs docker login",
    "unauthorized": "the registry wants docker login",
    "could not find an available": "the engine has no addresses left for networks: "
    "docker network ls shows who holds them, nox -s clean removes what killed runs left",
    "port is already allocated": "leave out --database-port and a free one is chosen",
    "address already in use": "leave out --database-port and a free one is chosen",
    **dict.fromkeys(
        ("no such host", "timeout", "deadline exceeded", "connection refused", "unreachable"),
        "the registry cannot be reached from the engine: name a mirror with --registry PREFIX, use "
        "images that are here with --pull never, or do without containers: --backend embedded",
    ),
}


def next_step(text: str) -> str:
    """Return ``; what to do`` for an engine's message; empty for one that says it all."""
    lower = text.lower()
    step = next((step for words, step in _NEXT_STEPS.items() if words in lower), "")
    return f"; {step}" if step else ""
