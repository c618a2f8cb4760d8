"""Every flow also runs by hand, with a bare Metaflow and nothing of the harness."""

from __future__ import annotations

import subprocess

import pytest

from harness.core.actions import FIRST_RUN
from harness.core.probes import COMPLETED, FLOWS, find_probes
from harness.machine.tools import tool_python

pytestmark = pytest.mark.e2e


PROBES = [
    probe for probe in find_probes(FLOWS).values() if "local" in (probe.datastores or ("local",))
]


@pytest.fixture(scope="module")
def bytecode(tmp_path_factory):
    """A folder for what Python compiles, once for all flows: nothing is left beside them."""
    return tmp_path_factory.mktemp("bytecode")


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.name)
def test_a_flow_runs_with_local_metadata(probe, bytecode, tmp_path):
    python = tool_python("by-hand", ["metaflow==2.19.39"])
    first = next(action for action in probe.actions if action.name == FIRST_RUN)
    finished = subprocess.run(
        [str(python), str(probe.path), "run"],
        cwd=tmp_path,
        env={
            "PATH": f"{python.parent}:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "HOME": str(tmp_path),
            "USER": "somebody",
            "TMPDIR": str(tmp_path),
            "METAFLOW_CLIENT_CACHE_PATH": str(tmp_path / "cache"),
            "METAFLOW_DEFAULT_METADATA": "local",
            "PYTHONPYCACHEPREFIX": str(bytecode),
            **dict(first.environment),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (finished.returncode == 0) == (probe.ends == COMPLETED), finished.stderr
    assert (tmp_path / ".metaflow").is_dir()
