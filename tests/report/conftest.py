"""A report of every kind of thing, drawn once."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.core.outcome import Status
from tests.report import journals

EVIL = "</script><script>document.title='owned'</script> <b>bold</b> \x1b[31mred\x1b[0m & ]]> \"'"


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with a journal: every status, two probes, evidence that means harm."""
    folder = tmp_path_factory.mktemp("results")
    found = []
    for client in journals.CLIENTS:
        for service in journals.SERVICES:
            one = journals.cell(client, service, _checks(client, service))
            if one.status is Status.FAIL:
                rows = '{"runs_v3": [{"run_number": 17}]}'
                one = journals.evidence(folder, one, flow=EVIL, service="GET /flows", rows=rows)
            found.append(one)
    found.append(journals.cell("2.7.23", "reference-2.5", {"run": "pass"}, probe="hello"))
    journals.write(folder, found)
    return folder


def _checks(client: str, service: str) -> dict[str, str | tuple[str, str]]:
    if client == "2.2.13" and service in {"reference-2.3", "reference-2.5"}:
        return {"run": "pass", "tags": ("fail", EVIL), "logs": "pass"}
    if client == "2.0.5":
        special = {
            "reference-1.0": "timeout",
            "reference-2.0": "infra",
            "reference-2.3": "expected-fail",
            "reference-2.5": "unexpected-pass",
        }
        return {"run": "pass", "tags": special[service], "logs": ("unsupported", "needs >=2.2")}
    if client == "2.19.39" and service == "reference-1.0":
        return dict.fromkeys(("run", "tags", "logs"), ("not-run", "no Python runs it"))
    return {"run": "pass", "tags": "pass", "logs": "pass"}
