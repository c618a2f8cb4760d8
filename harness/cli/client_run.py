"""What becomes of all clients of one session."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from harness.catalog.releases import Client
from harness.cli.rounds import Rounds
from harness.core.plan import Cell, Plan
from harness.core.view import View
from harness.run.attempts import Begun
from harness.run.folder import RunFolder
from harness.run.options import Options
from harness.run.resume import left_of
from harness.run.run import Run
from harness.ui.options import UIOptions


@dataclass
class ClientRun:
    """What becomes of all clients of one session.

    Attributes:
        options: of the run.
        plan: what it is going to do, or was when it began.
        before: what its journal says already; nothing in a run that begins.
        ui: what ``full`` shows after its walk; None in other sessions.
        rounds: which of its cells come next; None where all of them run.
        pythons: the interpreters of the clients that are installed, by what stands in the
            parentheses of their sessions.
        run: None until the first of its clients comes.
        prepared: the clients whose environments are ready, each with its interpreter, where the
            cells need several of them.
        begun: by what stands in the parentheses of its session, what was begun for a client before
            nox came to it, or what kept it from beginning; None where it is left to its session.
    """

    options: Options
    plan: Plan
    before: View
    ui: UIOptions | None = None
    rounds: Rounds | None = None
    run: Run | None = None
    pythons: dict[str, Path] = field(default_factory=dict)
    prepared: dict[Client, Path] = field(default_factory=dict)
    begun: dict[str, Begun | Exception | None] = field(default_factory=dict)

    @property
    def left(self) -> Plan:
        """What of the plan has no outcome yet."""
        folder = RunFolder(self.options.results, self.options.session, self.options.resumed)
        left = left_of(self.options, self.plan, self.before, folder)
        return replace(left, cells=self.now(left.cells))

    def now(self, cells: tuple[Cell, ...]) -> tuple[Cell, ...]:
        """Return those of some cells that run now; all of them, unless it is searched."""
        return self.rounds.first(cells) if self.rounds else cells

    @property
    def complete(self) -> bool:
        """Whether it is a run that came to its end, and has an outcome for each of its cells."""
        resumed = self.options.resumed is not None
        return resumed and not self.left.cells and not self.before.incomplete
