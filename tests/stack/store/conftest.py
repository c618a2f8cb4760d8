"""S3 servers for the tests of datastores."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from harness.machine.processes import ManagedProcess, free_port, wait_until
from harness.machine.tools import tool_python
from harness.stack.store.objects import REQUIREMENTS, ObjectStore
from harness.stack.store.server import CREDENTIALS, S3Server
from tests.marks import mark_of


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A running server that lets everybody do everything."""
    log = tmp_path_factory.mktemp("s3") / "s3.log"
    server = S3Server(f"tests-s3-{os.getpid()}", log)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[S3Server]:
    """A server not started yet, which the test may stop or kill."""
    server = S3Server(mark_of(tmp_path), tmp_path / "s3.log")
    yield server
    server.stop()


@pytest.fixture
def store(server: S3Server) -> ObjectStore:
    """The harness's way to the server."""
    return ObjectStore(server.endpoint, CREDENTIALS)


_STRANGER = """
import sys, boto3
options = {"endpoint_url": sys.argv[1]}
boto3.client("s3", **options).create_bucket(Bucket="theirs")
iam = boto3.client("iam", **options)
iam.create_user(UserName="stranger")
key = iam.create_access_key(UserName="stranger")["AccessKey"]
print(key["AccessKeyId"], key["SecretAccessKey"])
"""


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[ObjectStore]:
    """A server that enforces who may do what, asked by a user who may do nothing."""
    python = str(tool_python("s3", REQUIREMENTS))
    port = free_port()
    process = ManagedProcess(
        [python, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        # The three requests that make the bucket and the user are free.
        env={"PATH": os.defpath, "INITIAL_NO_AUTH_ACTION_COUNT": "3"},
        mark=mark_of(tmp_path),
        log=tmp_path / "guarded.log",
    )
    endpoint = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            return requests.get(f"{endpoint}/moto-api/", timeout=5).ok
        except requests.ConnectionError:
            return False

    try:
        wait_until(answers, seconds=60, what="the guarded server", log=tmp_path / "guarded.log")
        made = subprocess.run(
            [python, "-c", _STRANGER, endpoint],
            env=dict(CREDENTIALS),
            check=True,
            capture_output=True,
            text=True,
        )
        key, secret = made.stdout.split()
        stranger = {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret}
        yield ObjectStore(endpoint, {**CREDENTIALS, **stranger})
    finally:
        process.stop()
