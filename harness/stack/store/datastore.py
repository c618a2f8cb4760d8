"""Datastores: where clients put artifacts and logs, behind one small interface."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from harness.catalog.releases import Client
from harness.stack.store.objects import Stored


class Datastore(Protocol):
    """One kind of datastore, for the whole run."""

    name: str
    """The word on the datastore axis: ``local``, ``s3``."""

    description: str
    """Where the data goes, in words; for the first lines printed and the journal."""

    @property
    def number(self) -> int:
        """Which of its servers is in use, from 0: the next where one that died was replaced."""

    def check(self) -> None:
        """Find out whether it can be used. Called before anything of the run starts.

        Raises:
            UsageError: when what the user named cannot be used.
        """

    def pins(self, client: Client, python: str) -> tuple[str, ...]:
        """Return extra requirements ``client`` needs on a minor version of Python, ``3.11``."""

    def code(self, client: Client) -> str:
        """Return what tells what stores from anything else, and how ``client`` is told to use it.

        Empty for folders, and for what is somebody else's.

        Raises:
            InfraError: when it cannot be had.
        """

    def unsupported(self, client: Client, python: str) -> str:
        """Return why ``client`` cannot use it on that Python; empty when it can."""

    def environment(self, client: Client, stack: str, folder: Path) -> Mapping[str, str]:
        """Return the variables that make ``client`` use it; the first call starts it.

        A server of the run's own that has died is replaced, by one that has what was copied.

        Args:
            client: releases differ in the variables they read.
            stack: name of the stack the client works with.
            folder: a folder of the cell's or the walk's own; what shares it shares the data.

        Raises:
            InfraError: when it cannot be had.
        """

    def copy(self, stack: str, folder: Path) -> None:
        """Copy what lies there into the folder, where it would go with a server of the run's own.

        Args:
            stack: as above.
            folder: as above.

        Raises:
            InfraError: when it cannot be read or written.
        """

    def empty(self, stack: str, folder: Path) -> None:
        """Remove what lies there from a server of the run's own.

        Of what is in the folder by then, ``environment`` puts there what was copied.

        Args:
            stack: as above.
            folder: as above.

        Raises:
            InfraError: when it cannot be removed.
        """

    def objects(self, stack: str, folder: Path) -> list[Stored] | None:
        """Return every object that clients put there; None if not listable.

        Raises:
            InfraError: when the store cannot be asked.
        """

    def texts(self, stack: str, folder: Path, pattern: str) -> list[str]:
        """Return what lies there below paths that end so, as text.

        Args:
            stack: as above.
            folder: as above.
            pattern: the end of a path, whole names; ``*`` is any part of one.

        Raises:
            InfraError: when the store cannot be asked.
        """

    def check_alive(self, number: int) -> None:
        """Raise InfraError when it is there no longer: then a cell's failure is not its own.

        Args:
            number: of the server that the cell was given.
        """

    def watch(self, number: int) -> None:
        """Raise InfraError when it has ended; unlike ``check_alive`` it is not asked anything."""

    def stop(self) -> str:
        """Stop it, remove what it holds, and return a sentence on that; empty for nothing to say.

        Safe to call twice, and before it was ever used.
        """


class LocalDatastore:
    """Metaflow's local datastore: a folder."""

    name = "local"
    description = "local: a folder"
    number = 0

    def check(self) -> None:
        """Do nothing: the run's folder was made already."""

    def pins(self, client: Client, python: str) -> tuple[str, ...]:  # noqa: ARG002
        """Return nothing: every client can write files."""
        return ()

    def code(self, client: Client) -> str:  # noqa: ARG002
        """Return nothing: folders are folders."""
        return ""

    def unsupported(self, client: Client, python: str) -> str:  # noqa: ARG002
        """Return nothing: every client can write files."""
        return ""

    def environment(self, client: Client, stack: str, folder: Path) -> Mapping[str, str]:  # noqa: ARG002
        """Return the variables that put all data under ``folder``; the same for all releases."""
        folder.mkdir(parents=True, exist_ok=True)
        return {
            "METAFLOW_DEFAULT_DATASTORE": "local",
            "METAFLOW_DATASTORE_SYSROOT_LOCAL": str(folder),
        }

    def copy(self, stack: str, folder: Path) -> None:
        """Do nothing: all of it lies in the folder."""

    def empty(self, stack: str, folder: Path) -> None:
        """Do nothing: who removes the folder removes all of it."""

    def objects(self, stack: str, folder: Path) -> None:
        """Return None: a file that is gone shows when it is read back."""

    def texts(self, stack: str, folder: Path, pattern: str) -> list[str]:  # noqa: ARG002
        """Return the texts of files below the folder."""
        found = sorted(path for path in folder.glob(f"**/{pattern}") if path.is_file())
        return [path.read_text("utf-8", "replace") for path in found]

    def check_alive(self, number: int) -> None:
        """Do nothing: folders stay."""

    def watch(self, number: int) -> None:
        """Do nothing: folders stay."""

    def stop(self) -> str:
        """Do nothing: the folders go with the cells."""
        return ""
