"""What a run has seen: written to its journal, and taken into account by its view."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from harness.core.entries import Ended, Entry, Note, now
from harness.core.journal import E, Journal, read
from harness.core.view import View
from harness.machine.errors import InfraError, of_machine
from harness.machine.processes import uninterrupted
from harness.report.files import write_reports


class Record:
    """The journal of a run and the view of it; safe to use from several threads.

    Args:
        run: the run's id.
        folder: of its results.
        secrets: what must not be written down.
        goes_on: whether the run has a journal already, which is gone on with.

    Attributes:
        hear: called with each entry that is added from now on; None for nobody.
    """

    hear: Callable[[Entry], None] | None = None

    def __init__(
        self, run: str, folder: Path, secrets: Iterable[str], *, goes_on: bool = False
    ) -> None:
        self.run = run
        self.folder = folder
        self.view = View(read(folder) if goes_on else ())
        self._journal = Journal(folder / "journal.jsonl", secrets, goes_on=goes_on)
        self._lock = threading.Lock()

    def add(self, entry: E) -> E:
        """Write an entry to the journal before taking it into account."""
        with uninterrupted():
            written = self._journal.append(entry)
            with self._lock:
                self.view.add(written)
        if self.hear is not None:
            self.hear(written)
        return written

    def check_written(self) -> None:
        """Raise InfraError when what was added is not on disk."""
        if self._journal.refused:
            raise InfraError(self._journal.refused)

    def note(self, service: str, text: str) -> None:
        """Record what is worth knowing of a service and is no failure."""
        self.add(Note(at=now(), run=self.run, service=service, text=text))

    def place(self, path: Path) -> str:
        """Return how an entry names a file."""
        return str(path.relative_to(self.folder))

    def end(self) -> list[str]:
        """End the journal and write the reports.

        Returns:
            A sentence on each that the machine refused.
        """
        self.add(Ended(at=now(), run=self.run))
        refused = [self._journal.refused] if self._journal.refused else []
        self._journal.close()
        try:
            write_reports(self.view, self.folder)
        except OSError as error:
            again = f"nox -s report -- {self.folder} draws them"
            refused.append(f"no reports: {of_machine(error)}; {again}")
        return refused
