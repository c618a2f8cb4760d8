"""The S3 server of a run's own: moto, on this machine."""

from __future__ import annotations

import os
from pathlib import Path

import requests

from harness.datastore.objects import REQUIREMENTS
from harness.errors import InfraError
from harness.processes import ManagedProcess, free_port, tail_note, wait_until
from harness.tools import tool_python

_HOST = "127.0.0.1"
_START_SECONDS = 60.0

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "compat",
    "AWS_SECRET_ACCESS_KEY": "compat",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}
"""What clients must have set, though this server does not look at it."""


class S3Server:
    """A moto server. It keeps objects in memory: what it holds is gone when it stops.

    Args:
        mark: what the process belongs to.
        log: what it prints.
    """

    def __init__(self, mark: str, log: Path) -> None:
        self._mark = f"{mark}/s3-server"
        self.log = log
        port = free_port()
        self.endpoint = f"http://{_HOST}:{port}"
        self._arguments = ["-m", "moto.server", "-H", _HOST, "-p", str(port)]
        self._process: ManagedProcess | None = None

    def start(self) -> None:
        """Start it and return when it answers.

        Raises:
            InfraError: when it does not, with its last log lines.
        """
        python = tool_python("s3", REQUIREMENTS)
        env = {"PATH": os.environ.get("PATH", os.defpath), "PYTHONUNBUFFERED": "1"}
        self._process = ManagedProcess(
            [str(python), *self._arguments], env=env, mark=self._mark, log=self.log
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
        try:
            return requests.get(f"{self.endpoint}/moto-api/", timeout=10).ok
        except requests.RequestException:
            return False

    def check_alive(self) -> None:
        """Raise InfraError, with the last log lines, when it has ended or does not answer."""
        if self._process is not None:
            self._process.check_alive("the S3 server")
            if not self._answers():
                raise InfraError(
                    f"the S3 server at {self.endpoint} does not answer{tail_note(self.log)}"
                )

    def stop(self) -> None:
        """Stop it. Safe to call twice, and before start."""
        if self._process is not None:
            self._process.stop()
