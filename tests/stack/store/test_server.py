"""The S3 server of a run's own."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import requests

from harness.machine.errors import InfraError
from harness.stack.store.server import S3Server
from tests.marks import mark_of

pytestmark = pytest.mark.e2e


def test_it_answers_after_start_and_is_gone_after_stop(own_server: S3Server):
    assert own_server.endpoint == ""  # what is free now may be taken when it starts
    own_server.start()
    own_server.check_alive()
    assert own_server.endpoint.startswith("http://127.0.0.1:")
    assert requests.get(own_server.endpoint, timeout=10).ok
    own_server.stop()
    own_server.stop()
    with pytest.raises(requests.ConnectionError):
        requests.get(own_server.endpoint, timeout=10)


def test_a_server_that_was_killed_is_not_alive(own_server: S3Server):
    own_server.start()
    assert own_server._process is not None
    own_server._process.kill()
    with pytest.raises(InfraError, match="the S3 server ended with exit code -9"):
        own_server.check_alive()


def test_a_port_that_is_taken_is_told_at_once(tmp_path: Path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        server = S3Server(mark_of(tmp_path), tmp_path / "s3.log", port=port)
        with pytest.raises(InfraError, match="the S3 server ended with exit code"):
            server.start()
    server.stop()
