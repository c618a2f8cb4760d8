"""A second Docker engine whose disk is a few megabytes of memory."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

from harness.containers.engine import Engine, find_engine
from harness.errors import InfraError
from harness.processes import ManagedProcess, wait_until

_SIZE = "32m"
"""Holds what an engine makes for itself, and no image of ours."""


@contextmanager
def serve_small_engine() -> Iterator[Engine]:
    """Yield an engine that pulls until its disk is full; needs root. It is gone afterwards."""
    # A socket's path must be short.
    with tempfile.TemporaryDirectory(prefix="compat-engine-") as name:
        folder = Path(name)
        data = folder / "data"
        data.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_SIZE}", "tmpfs", data], check=True)
        try:
            with _dockerd(folder, data) as engine:
                yield engine
        finally:
            subprocess.run(["umount", data], check=True)


@contextmanager
def _dockerd(folder: Path, data: Path) -> Iterator[Engine]:
    host = f"unix://{folder}/docker.sock"
    places = ["--host", host, "--data-root", str(data), "--exec-root", str(folder / "exec")]
    places += ["--pidfile", str(folder / "pid")]
    # It pulls and runs nothing: the machine's network stays as the other engine has it.
    network = ["--bridge=none", "--iptables=false", "--ip-forward=false", "--ip-masq=false"]
    process = ManagedProcess(
        ["dockerd", *places, *network],
        env=dict(os.environ),
        mark=f"tests-{os.getpid()}/engine",
        log=folder / "log",
    )
    found: list[Engine] = []

    def answers() -> bool:
        process.check_alive("the small engine")
        try:
            found.append(find_engine({"DOCKER_HOST": host}))
        except (InfraError, requests.RequestException):
            return False
        return True

    try:
        wait_until(answers, seconds=60, what="the small engine", log=process.log)
        yield found[0]
    finally:
        for engine in found:
            engine.close()
        process.stop()
