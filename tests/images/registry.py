"""A registry of our own on 127.0.0.1, which every engine may use without keys."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

from harness.machine.processes import ManagedProcess, free_port, wait_until

_CONFIG = """version: 0.1
storage: {{filesystem: {{rootdirectory: {folder}}}}}
http: {{addr: "{address}"}}
"""


@contextmanager
def serve_registry(folder: Path) -> Iterator[str]:
    """Yield HOST:PORT of a registry: the one COMPAT_REGISTRY names, else one started here."""
    given = os.environ.get("COMPAT_REGISTRY")
    if given:
        yield given
        return
    address = f"127.0.0.1:{free_port()}"
    config = folder / "registry.yml"
    config.write_text(_CONFIG.format(folder=folder / "data", address=address), encoding="utf-8")
    process = ManagedProcess(
        ["docker-registry", "serve", str(config)],
        env=dict(os.environ),
        mark=f"tests-{os.getpid()}/registry",
        log=folder / "registry.log",
    )

    def answers() -> bool:
        process.check_alive("the registry")
        try:
            return requests.get(f"http://{address}/v2/", timeout=5).ok
        except requests.ConnectionError:
            return False

    try:
        wait_until(answers, seconds=30, what="the registry", log=process.log)
        yield address
    finally:
        process.stop()
