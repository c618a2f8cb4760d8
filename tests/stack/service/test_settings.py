"""What a metadata service is told of its database."""

from __future__ import annotations

from harness.stack.database.server import Address, Tls
from harness.stack.service.settings import database_settings, service_settings


def of_tls(tls: Tls | None) -> dict[str, str]:
    told = database_settings(Address("db.example", 5432, "ann", "secret", "metadata", tls))
    assert told["MF_METADATA_DB_HOST"] == "db.example"
    return {name: value for name, value in told.items() if "_SSL_" in name}


def test_nothing_is_told_of_tls_unless_somebody_asked() -> None:
    assert of_tls(None) == {}


def test_a_mode_alone_names_no_file() -> None:
    assert of_tls(Tls("require")) == {"MF_METADATA_DB_SSL_MODE": "require"}


def test_files_are_told_by_the_names_that_releases_read() -> None:
    assert of_tls(Tls("verify-full", "/ca.crt", "/me.crt", "/me.key")) == {
        "MF_METADATA_DB_SSL_MODE": "verify-full",
        "MF_METADATA_DB_SSL_ROOT_CERT_PATH": "/ca.crt",
        "MF_METADATA_DB_SSL_ROOT_CERT": "/ca.crt",
        "MF_METADATA_DB_SSL_CERT_PATH": "/me.crt",
        "MF_METADATA_DB_SSL_KEY_PATH": "/me.key",
    }


def test_a_service_is_told_of_a_path_of_its_own_where_it_has_one() -> None:
    address = Address("db.example", 5432, "ann", "secret", "metadata")
    assert "PATH_PREFIX" not in service_settings(address, 1, 2)
    assert service_settings(address, 1, 2, "/teams/metaflow")["PATH_PREFIX"] == "/teams/metaflow"
