"""The S3 servers of a run's own: what they have in common, and moto on this machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

import requests

from harness.machine.errors import InfraError
from harness.machine.processes import HOST, ManagedProcess, free_port, tail_note, wait_until
from harness.machine.tools import tool_python
from harness.machine.web import ask
from harness.stack.store.objects import REQUIREMENTS, digest_of_tool

_START_SECONDS = 60.0

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "compat-access",
    "AWS_SECRET_ACCESS_KEY": "compat-secret",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}
"""What clients must have set. No secret: the server is on this machine alone, and moto does not
look at it; servers that do want 8 characters at least."""


class OwnServer(Protocol):
    """An S3 server that a run starts and stops."""

    description: str
    """What it is, in words: ``a moto server of the run's own``."""
    endpoint: str
    """Its address, no final slash; empty before start."""
    log: Path

    def code(self) -> str:
        """Return what tells the program it is from any other; what that takes is made.

        Raises:
            InfraError: when it cannot be had.
        """

    def start(self) -> None:
        """Start it and return when it answers.

        Raises:
            InfraError: when it does not, with its last log lines.
        """

    def check_alive(self) -> None:
        """Raise InfraError, with the last log lines, when it has ended or does not answer."""

    def watch(self) -> None:
        """Raise InfraError when it has ended."""

    def stop(self) -> None:
        """Stop it; what it holds is gone. Safe to call twice, and before start.

        Raises:
            InfraError: when it cannot be removed.
        """


def answers(url: str, *, well: bool = True) -> bool:
    """Tell whether an HTTP server answers at an address.

    Args:
        url: what is asked for.
        well: only what is no error counts; else a refusal does, too.
    """
    try:
        response = ask("GET", url, seconds=10)
    except requests.RequestException:
        return False
    return response.ok if well else response.status_code < requests.codes.server_error


class S3Server:
    """A moto server. It keeps objects in memory: what it holds is gone when it stops.

    Args:
        mark: what the process belongs to.
        log: what it prints.
        host: the address of this machine that it listens on.
        port: where it listens; None for a port the system chooses when it starts.
        outlives: whether it may run on when this process has ended.
    """

    description = "a moto server of the run's own"

    def __init__(
        self,
        mark: str,
        log: Path,
        host: str = HOST,
        port: int | None = None,
        *,
        outlives: bool = False,
    ) -> None:
        self._mark = f"{mark}/s3-server"
        self.log = log
        self.endpoint = ""
        self._host = host
        self._port = port
        self._outlives = outlives
        self._process: ManagedProcess | None = None

    def code(self) -> str:
        """Return the digest of its tool environment."""
        return digest_of_tool()

    def start(self) -> None:
        """Start it and return when it answers.

        Raises:
            InfraError: when it does not, with its last log lines.
        """
        python = tool_python("s3", REQUIREMENTS)
        # Without the user's AWS variables, which are for the real S3.
        env = {"PATH": os.environ.get("PATH", os.defpath), "PYTHONUNBUFFERED": "1"}
        # Chosen only now: the first use may come minutes after the run's begin.
        port = self._port or free_port(self._host)
        self.endpoint = f"http://{self._host}:{port}"
        command = [str(python), "-m", "moto.server", "-H", self._host, "-p", str(port)]
        self._process = ManagedProcess(
            command, env=env, mark=self._mark, log=self.log, outlives=self._outlives
        )
        wait_until(
            self._ready,
            seconds=_START_SECONDS,
            what=f"the S3 server at {self.endpoint}",
            log=self.log,
        )

    def _ready(self) -> bool:
        assert self._process is not None
        self._process.check_alive("the S3 server")
        return self._answers()

    def _answers(self) -> bool:
        # moto's own page: it touches no bucket, and asks for no credentials.
        return answers(f"{self.endpoint}/moto-api/")

    def check_alive(self) -> None:
        """Raise InfraError, with the last log lines, when it has ended or does not answer."""
        if self._process is not None:
            self._process.check_alive("the S3 server")
            if not self._answers():
                raise InfraError(
                    f"the S3 server at {self.endpoint} does not answer{tail_note(self.log)}"
                )

    def watch(self) -> None:
        """Raise InfraError, with the last log lines, when it has ended."""
        if self._process is not None:
            self._process.check_alive("the S3 server")

    def stop(self) -> None:
        """Stop it. Safe to call twice, and before start."""
        if self._process is not None:
            self._process.stop()
