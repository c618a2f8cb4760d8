"""A second Docker engine whose disk is a few megabytes of memory."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

from harness.machine.errors import InfraError
from harness.machine.processes import ManagedProcess, wait_until
from harness.stack.containers.engine import Engine, find_engine

_SIZE = "32m"
"""Holds what an engine makes for itself, and no image of ours."""

_MAKE_BRIDGE, _REMOVE_BRIDGE, _SET_FLAGS = 0x89A0, 0x89A1, 0x8914
"""SIOCBRADDBR, SIOCBRDELBR and SIOCSIFFLAGS of Linux: not every machine has the program ``ip``."""

_LONGEST_NAME = 15
"""Characters of an interface's name."""


@contextmanager
def serve_small_engine() -> Iterator[Engine]:
    """Yield an engine that pulls until its disk is full; needs root. It is gone afterwards."""
    # A socket's path must be short.
    with tempfile.TemporaryDirectory(prefix="compat-engine-") as name, _bridge() as bridge:
        folder = Path(name)
        data = folder / "data"
        data.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_SIZE}", "tmpfs", data], check=True)
        try:
            with _dockerd(folder, data, bridge) as engine:
                yield engine
        finally:
            subprocess.run(["umount", data], check=True)


@contextmanager
def _bridge() -> Iterator[str]:
    """Make a network bridge of the engine's own, and yield its name.

    Without one (``--bridge none``) a starting engine removes ``docker0``, whosever that is.
    """
    name = f"compat{os.getpid()}"[-_LONGEST_NAME:]
    with socket.socket(socket.AF_INET) as control:
        fcntl.ioctl(control, _MAKE_BRIDGE, name.encode() + b"\0")
        try:
            yield name
        finally:
            _take_down(control, name)
            fcntl.ioctl(control, _REMOVE_BRIDGE, name.encode() + b"\0")


def _take_down(control: socket.socket, name: str) -> None:
    """Clear the flag IFF_UP of an interface: a bridge that is up cannot be removed."""
    request = struct.pack("16sh14x", name.encode(), 0)
    fcntl.ioctl(control, _SET_FLAGS, request)


@contextmanager
def _dockerd(folder: Path, data: Path, bridge: str) -> Iterator[Engine]:
    host = f"unix://{folder}/docker.sock"
    places = ["--host", host, "--data-root", str(data), "--exec-root", str(folder / "exec")]
    places += ["--pidfile", str(folder / "pid")]
    # It pulls and runs nothing: the machine's network stays as other engines have it.
    network = ["--bridge", bridge, "--iptables=false", "--ip-forward=false", "--ip-masq=false"]
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
