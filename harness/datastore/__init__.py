"""Datastores: where clients put artifacts and logs, behind one small interface."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from harness.versions import Client


class Datastore(Protocol):
    """One kind of datastore, for the whole run."""

    name: str
    """The word on the datastore axis: ``local``, ``s3``."""

    def start(self) -> None:
        """Make it ready. Called once, before the first cell that uses it.

        Raises:
            InfraError: when it cannot be had.
        """

    def environment(self, client: Client, folder: Path) -> Mapping[str, str]:
        """Return the variables that make ``client`` use it, kept apart from others by ``folder``.

        Args:
            client: releases differ in the variables they read.
            folder: a folder of the cell's or the walk's own; what shares it shares the data.
        """

    def stop(self) -> None:
        """Stop it and remove what it holds. Safe to call twice, and before start."""


class LocalDatastore:
    """Metaflow's local datastore: a folder."""

    name = "local"

    def start(self) -> None:
        """Do nothing: folders need no server."""

    def environment(self, client: Client, folder: Path) -> Mapping[str, str]:  # noqa: ARG002
        """Return the variables that put all data under ``folder``; the same for all releases."""
        folder.mkdir(parents=True, exist_ok=True)
        return {
            "METAFLOW_DEFAULT_DATASTORE": "local",
            "METAFLOW_DATASTORE_SYSROOT_LOCAL": str(folder),
        }

    def stop(self) -> None:
        """Do nothing: the folders go with the cells."""
