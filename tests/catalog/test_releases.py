"""What a release says of itself: which ranges of versions it lies in."""

from __future__ import annotations

from datetime import date

import pytest
from packaging.version import Version

from harness.catalog.releases import Client, Service
from harness.machine.errors import UsageError


def _service(version: str, reported: str | None) -> Service:
    return Service(
        f"v{version}", "released", Version(version), reported, "g", 0, False, None, None, None
    )


@pytest.mark.parametrize(
    ("version", "reported", "expected"),
    [("2.2.5", "2.2.3", False), ("2.3.0", "2.3.0", True), ("2.3.0", None, True)],
)
def test_a_service_is_judged_by_the_version_it_reports(version, reported, expected):
    assert _service(version, reported).satisfies(">=2.2.4") is expected


def test_a_client_is_judged_by_its_version():
    client = Client("2.13", date(2024, 11, 22), (), ("3.11",), {})
    assert client.satisfies(">=2.13.0,<2.14")
    assert not client.satisfies("<2.13")
    with pytest.raises(UsageError, match=r"'2\.13' is no range of versions"):
        client.satisfies("2.13")
