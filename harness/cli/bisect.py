"""Finding where a check turns: each step is a run of one cell, as its line runs it again."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.catalog.versions import load
from harness.cli.nested import journals_below, results_folder, run_nox
from harness.cli.parser import build_parser
from harness.cli.searched import Searched, find_searched
from harness.core.bisection import Bisection, Found, Verdict
from harness.core.entries import CellEntry, Note, now
from harness.core.journal import read
from harness.core.outcome import CheckOutcome, Status
from harness.core.view import View
from harness.machine.errors import HarnessError, one_line
from harness.report.files import write_reports
from harness.report.merge import merge, write_journal
from harness.report.terminal import Screen
from harness.report.text import counted
from harness.run.cluster.cluster import check_scheduler
from harness.run.folder import check_results, make_latest
from harness.stack.service.git import short

_VERDICTS = {
    Status.PASS: Verdict.GOOD,
    Status.FAIL: Verdict.BAD,
    Status.TIMEOUT: Verdict.BAD,
}
"""What a check says of a variant; all else says nothing."""

_NOT_ASKED = "its run has no such check"


@dataclass
class Step:
    """What came of the cell of a variant.

    Attributes:
        statuses: of the check, attempt by attempt, whatever is declared of it.
        reason: of the last one that did not pass.
        rerun: the line that runs the cell again; empty where it never came to one.
    """

    statuses: list[Status] = field(default_factory=list)
    reason: str = ""
    rerun: str = ""

    @property
    def verdict(self) -> Verdict | None:
        """What most attempts say of it; None where as many say one as the other."""
        seen = Counter(self._seen)
        if seen and seen[Verdict.GOOD] == seen[Verdict.BAD]:
            return None
        return max(seen, key=seen.__getitem__, default=Verdict.UNTESTABLE)

    @property
    def flaky(self) -> bool:
        """Whether attempts differ in what they say."""
        return len(set(self._seen)) > 1

    @property
    def _seen(self) -> list[Verdict]:
        return [_VERDICTS[one] for one in self.statuses if one in _VERDICTS]

    def __str__(self) -> str:
        counts = Counter(one.value for one in self.statuses)
        told = ", ".join(
            word if len(self.statuses) == 1 else f"{count} of {len(self.statuses)} {word}"
            for word, count in counts.items()
        )
        mark = " (flaky)" if self.flaky else ""
        return (told or Verdict.UNTESTABLE.value) + mark


class Search:
    """Runs the steps of a search.

    Args:
        searched: what is searched.
        repeat: how often each step runs.
        folder: of its results.
        say: prints a line.
    """

    def __init__(
        self, searched: Searched, repeat: int, folder: Path, say: Callable[[str], None]
    ) -> None:
        self.searched = searched
        self.steps: dict[str, Step] = {}
        self._repeat = repeat
        self._folder = folder
        self._say = say
        self._runs = 0
        self._bisection = Bisection(searched.history, searched.newer, searched.untestable)
        (folder / "logs").mkdir()

    def run(self) -> Found:
        """Search; where each step runs once, what the answer rests on is run once more.

        Raises:
            HarnessError: when attempts at a step differ, and no majority is asked for or there;
                when a run had no cell, but for that of a commit that holds nothing to run.
        """
        found = self._bisection.run(self._ask)
        if self._repeat == 1:
            # Of those that may be the first, the last one alone was tested.
            rests_on = [found.wrong] if found.wrong else [*found.before, found.first[-1]]
            for variant in rests_on:
                if found.told.get(variant, Verdict.UNTESTABLE) is not Verdict.UNTESTABLE:
                    self._ask(variant)
        return found

    @property
    def attempts(self) -> int:
        """How often a cell ran."""
        return sum(len(step.statuses) for step in self.steps.values())

    def _ask(self, variant: str) -> Verdict:
        step = self.steps.get(variant, Step())
        self._attempt(variant, step)
        self.steps[variant] = step
        left = math.ceil(math.log2(self._bisection.left)) if self._bisection.left else 0
        title = f"{self.searched.noun} {self.searched.title(variant)}"
        self._say(f"[{self._runs}, about {left} to go] {title}: {step}{_because(step)}")
        if step.flaky and self._repeat == 1:
            more = "--repeat 3 takes the majority of three attempts at each step"
            raise HarnessError(f"{title} is flaky: {step}; {more}")
        if step.verdict is None:
            raise HarnessError(f"{title} is flaky, and has no majority: {step}")
        return step.verdict

    def _attempt(self, variant: str, step: Step) -> None:
        self._runs += 1
        name = f"{self._runs:02d}-{re.sub(r'[^A-Za-z0-9.-]', '_', variant)[:40]}"
        log = self._folder / "logs" / f"{name}.txt"
        words = self.searched.command(variant)
        results = self._folder / "runs"
        before = journals_below(results)
        run_nox([*words, "--repeat", str(self._repeat), "--results", str(results)], log)
        new = [journal for journal in journals_below(results) if journal not in before]
        view = View([entry for journal in new for entry in read(journal)])
        attempts: Sequence[CellEntry] = list(view.attempts)
        if not attempts:
            step.reason = _last_words(log)
            # An error that names a commit and what it stands for tells what that holds.
            if f"{variant} ({short(variant)}) " not in step.reason:
                # Without its command, which may hold a secret.
                raise HarnessError(f"{variant} ran no cell: {step.reason}; see {log}")
        for cell in attempts:
            # As it came out: a check that never ran may be declared to fail, and tells nothing.
            found = cell.checks | cell.undeclared
            outcome = found.get(self.searched.check, CheckOutcome(Status.NOT_RUN, _NOT_ASKED))
            step.statuses.append(outcome.status)
            step.reason = outcome.reason or step.reason
            step.rerun = cell.rerun


def _because(step: Step) -> str:
    if not step.reason or (step.statuses and step.statuses[-1] is Status.PASS):
        return ""
    return f": {one_line(step.reason)[:200]}"


def _last_words(log: Path) -> str:
    """Return the line that says why nox did nothing; its last one where none does."""
    lines = [one for one in log.read_text("utf-8", "replace").splitlines() if one.strip()]
    errors = [one for one in lines if one.startswith("error: ")]
    return next(iter([*errors, *lines[-1:]]), "it printed nothing")


def bisect_main(arguments: Sequence[str], engine: Callable[[], str]) -> int:
    """Do ``nox -s bisect -- …``; return 0 when it is found where the check turns.

    Args:
        arguments: what follows ``--``.
        engine: describes the Docker engine that answers, or raises InfraError.

    Raises:
        UsageError: for bad input, before anything starts.
    """
    raw = build_parser("bisect").read(arguments)
    searched = find_searched(raw, load(), engine)
    check_results(raw.results)
    if raw.scheduler is not None:
        # Each step would find that out anew.
        check_scheduler(raw.scheduler)
    folder = results_folder(raw.results.resolve(), "bisect")
    screen = Screen()
    several = list(searched.history)
    ends = f"{searched.title(several[0])} to {searched.title(several[-1])}"
    about = f"{searched.probe}/{searched.check} {searched.beside}"
    screen.say(f"{about}: {counted(len(several), searched.noun)}, {ends}; each step in {folder}")
    for variant, why in searched.untestable.items():
        screen.say(f"left out: {searched.noun} {searched.title(variant)}: {why}")
    search = Search(searched, raw.repeat, folder, screen.say)
    code, told = 1, ["the search was cut short"]
    try:
        found = search.run()
        told = list(answer(search, found))
        code = int(not found.exact)
    except HarnessError as error:
        told = [f"stopped: {error}"]
    finally:
        told = [*told, *_path(search)]
        _report(folder, f"{about}: {'; '.join(told)}")
        for one in told:
            screen.say(one)
        screen.say(f"results: {folder}")
    return code


def answer(search: Search, found: Found) -> list[str]:
    """Return what a search came to, a line each."""
    searched = search.searched
    kind = searched.newer.value
    titles = [searched.title(one) for one in found.first]
    before = ", ".join(searched.title(one) for one in found.before)
    older = Verdict.GOOD if searched.newer is Verdict.BAD else Verdict.BAD
    if found.wrong:
        wrong = f"{searched.title(found.wrong)} is {found.told[found.wrong].value}"
        return [f"nothing turns: {wrong}, and so is all that was tried"]
    first = titles[0]
    if len(titles) > 1:
        first = f"one of {', '.join(titles)}: what lies before the last of them cannot be tested"
    lines = [f"first {kind} {searched.noun}: {first}; {before} is {older.value}"]
    by_word = map(searched.title, found.unproven)
    lines += [f"by your word alone, for it could not be tested: {one}" for one in by_word]
    shows = search.steps.get(found.first[-1] if kind == "bad" else found.before[-1])
    if shows is not None and shows.verdict is Verdict.BAD:
        lines += [f"it shows again by: {shows.rerun}"]
    return lines


def _path(search: Search) -> list[str]:
    """Return what was tried, in order, as one line."""
    if not search.steps:
        return []
    tried = [f"{search.searched.title(name)} {step}" for name, step in search.steps.items()]
    of = counted(len(search.searched.history), search.searched.noun)
    spent = f"{counted(len(search.steps), 'cell')} of {of}, {counted(search.attempts, 'attempt')}"
    return [f"tried {spent}: {', '.join(tried)}"]


def _report(folder: Path, told: str) -> None:
    """Draw the reports of all steps, put together, with what the search came to."""
    journals = journals_below(folder / "runs")
    if not journals:
        return
    entries = merge(journals, folder)
    *_, last = View(entries).runs
    write_journal([*entries, Note(at=now(), run=last, service="", text=told)], folder)
    write_reports(View(read(folder)), folder)
    make_latest(folder)
