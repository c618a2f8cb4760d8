"""TLS between services and a database of the run's own: what can be asked for. Pure."""

from __future__ import annotations

from harness.catalog.releases import Service

REQUIRE = "require"
VERIFY_FULL = "verify-full"
CLIENT_CERT = "client-cert"
MODES = {
    REQUIRE: "connections are encrypted",
    VERIFY_FULL: "connections are encrypted, and the server's certificate is verified",
    CLIENT_CERT: "connections are encrypted, and both sides show a certificate",
}
"""What can be asked for, by its name; in all of them the server refuses what is not encrypted."""

# https://github.com/Netflix/metaflow-service/pull/373
SINCE = "2.4.4"
"""The first release that can be told how to reach its database."""


def why_not(service: Service, mode: str) -> str:
    """Return why a service cannot be told how its database is reached; empty when it can.

    Levels of the reference service, the control, all can.

    Args:
        service: which.
        mode: what is asked for; empty for no TLS.
    """
    if not mode or service.kind == "reference" or service.is_release(f">={SINCE}"):
        return ""
    return f"needs settings for TLS, which services have since v{SINCE}, this is {service.name}"
