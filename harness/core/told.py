"""What is said to services of their surroundings, and which of them can be told. Pure."""

from __future__ import annotations

from harness.catalog.releases import Service
from harness.core.scenarios import prefix_of

REQUIRE = "require"
VERIFY_FULL = "verify-full"
CLIENT_CERT = "client-cert"
MODES = {
    REQUIRE: "connections are encrypted",
    VERIFY_FULL: "connections are encrypted, and the server's certificate is verified",
    CLIENT_CERT: "connections are encrypted, and both sides show a certificate",
}
"""Modes of TLS to a database of the run's own; in all the server refuses what is not encrypted."""

SINCE = "2.4.4"
"""The first release with settings for TLS and for a path of its own.

https://github.com/Netflix/metaflow-service/pull/373
https://github.com/Netflix/metaflow-service/pull/384
"""


def why_not(service: Service, tls: str, scenario: str) -> str:
    """Return why a service cannot be told of what is around it; empty when it can.

    Levels of the reference service, the control, all can.

    Args:
        service: which.
        tls: the mode of TLS to its database; empty for none.
        scenario: what is done wrong on purpose, or otherwise.
    """
    settings = [*(["TLS"] if tls else []), *(["a path of its own"] if prefix_of(scenario) else [])]
    if not settings or service.kind == "reference" or service.is_release(f">={SINCE}"):
        return ""
    return (
        f"needs settings for {' and '.join(settings)}, which there are since v{SINCE}, this is"
        f" {service.name}"
    )
