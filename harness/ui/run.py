"""``nox -s ui``: one UI after the other over a database that is there, shown or judged."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

from harness.catalog.releases import Catalog, Service
from harness.core.journal import read
from harness.core.outcome import CheckOutcome, Status
from harness.core.view import View
from harness.machine.control_group import end_group, enter_group
from harness.machine.errors import InfraError, UsageError, nearest, refusal
from harness.machine.guard import Guard
from harness.machine.locks import RunLock
from harness.machine.processes import disown, free_port, kill_marked, mark_own, raise_exit
from harness.machine.secrets import KNOWN, from_environment
from harness.machine.strays import kill_strays
from harness.proof.ui.sample import sample
from harness.proof.ui.sample_run import SampleRun
from harness.report.terminal import Screen
from harness.run.folder import RunFolder, check_results
from harness.run.record import Record
from harness.stack.containers.engine import find_engine
from harness.stack.containers.images import Images
from harness.stack.containers.own import Belongings
from harness.stack.database.server import Database, ignore_variables
from harness.stack.kept_stack import Kept, find_kept
from harness.stack.service.checkout import check_service_file
from harness.stack.service.image import Builder
from harness.stack.service.launcher import ServiceError
from harness.ui.backend import await_ui, blaming_ui
from harness.ui.check import Checking
from harness.ui.checkout import CheckoutUI
from harness.ui.container import ContainerUI, PageImage
from harness.ui.data_links import DataLinks
from harness.ui.launcher import DataSource, RunningUI, UILauncher
from harness.ui.live_runs import WRITER, LiveRuns
from harness.ui.options import (
    UIOptions,
    available_versions,
    check_port,
    needs_processes,
    select_versions,
)
from harness.ui.source import (
    GivenDatabase,
    KeptContainers,
    KeptProcesses,
    check_database,
    check_told,
    reading,
)


def show(options: UIOptions, catalog: Catalog, screen: Screen) -> int:
    """Start the UIs that are asked for, one after the other, and show or judge each.

    Returns:
        1 when ``--check`` found something wrong, else 0.

    Raises:
        HarnessError: for what is wrong before, or cannot be started.
    """
    check_results(options.results)
    kept = None if options.database_url else find_kept(options.source)
    why = needs_processes(options, kept.backend if kept else "", _describe_engine)
    versions = select_versions(options, catalog, images=not why, last=kept.service if kept else "")
    if options.port is not None:
        check_port(options.port)
    if kept is not None:
        check_told(kept, versions)
    if options.service_deps is not None:
        check_service_file(options.service_deps, catalog.service_pythons)
    with contextlib.ExitStack() as ending:
        if kept is not None:
            ending.enter_context(kept.used())
        run = ending.enter_context(_running(UIRun(options, catalog, screen, kept)))
        return run.go(versions, processes=bool(why))


def _describe_engine() -> str:
    engine = find_engine()
    engine.close()
    return engine.description


@contextmanager
def _running(run: UIRun) -> Iterator[UIRun]:
    """End the run when the block ends, in whatever way."""
    # nox ends on SIGTERM without unwinding; as an exception it unwinds like Ctrl-C.
    before = signal.signal(signal.SIGTERM, raise_exit)
    try:
        yield run
    finally:
        run.end()
        signal.signal(signal.SIGTERM, before)


class UIRun:
    """One run of ``ui``: its folder, its source, and the UI that runs at present.

    Args:
        options: what is asked for.
        catalog: what there is.
        screen: where to print.
        kept: the kept stack that is shown; None for the database of ``--database-url``.
    """

    def __init__(
        self, options: UIOptions, catalog: Catalog, screen: Screen, kept: Kept | None
    ) -> None:
        self.options = options
        self.catalog = catalog
        self.screen = screen
        self.kept = kept
        self.links: DataLinks | None = None
        self._results = RunFolder(options.results, "ui")
        self.id, self.folder, self.logs = (
            self._results.run,
            self._results.path,
            self._results.logs,
        )
        if kept is not None:
            self.links = DataLinks(kept, self.id)
        self._results.make()
        self.logs.mkdir()
        self._lock = RunLock(self.id, self.folder)
        self._guard = Guard(self.id, self.folder / "work", spared_mark="database")
        # A browser and its driver, questions to a store.
        mark_own(f"{self.id}/own")
        self._secrets = [*from_environment(os.environ)]
        KNOWN.add(self._secrets)
        self._ending = contextlib.ExitStack()
        self._detached = False

    def go(self, versions: Sequence[Service], *, processes: bool) -> int:
        """Start each UI over the source, and show or judge it.

        Returns:
            1 when ``--check`` found something wrong, else 0.
        """
        if not self.options.detach:
            enter_group(self.id)
        launcher, source = self._launcher(processes=processes), self._source()
        self.screen.say(f"ui: {launcher.description}")
        self.screen.say(f"over: {source.description}")
        self._ending.callback(source.stop)
        database = source.start()
        self._secrets.append(database.address.password)
        KNOWN.add(self._secrets)
        with reading(database.address):
            available = available_versions(self.options, self.catalog)
            check_database(database.address, versions, available)
        launcher.prepare(versions)
        if self.links is not None:
            # Links that were made before it failed half-way go, too.
            self._ending.callback(self.links.drop)
            self.links.take()
        if self.options.check:
            over = f"{launcher.description}, over {source.description}"
            rests = {one: launcher.notes(one) for one in versions}
            started = partial(self._started, launcher, source)
            return self._check(rests, database, over, started)
        # Several only with --check: a person looks at one page, on one port.
        (version,) = versions
        try:
            with self._started(launcher, source, version, database) as running:
                self.screen.say(f"{running.origin}: http://localhost:{self.options.port}")
                if self.options.detach:
                    self._leave(running)
                else:
                    self._wait(running)
        except ServiceError as error:
            # Nothing is judged here: there is none to look at, and why.
            raise InfraError(str(error)) from error
        return 0

    @contextmanager
    def _started(
        self, launcher: UILauncher, source: DataSource, version: Service, database: Database
    ) -> Iterator[RunningUI]:
        """Start a UI, and stop it after the block unless it was left on purpose."""
        start = partial(launcher.start, version, source, database)
        try:
            running = self._up(version, start, database)
        except InfraError as error:
            # Some backends hang now and then while they start their workers.
            self.screen.say(f"{str(error).splitlines()[0]}: it is started once more")
            running = self._up(version, start, database)
        try:
            yield running
        finally:
            if not self._detached:
                running.stop()

    def _up(
        self, version: Service, start: Callable[[int, Path], RunningUI], database: Database
    ) -> RunningUI:
        """Return a UI that answers; one that does not is stopped."""
        port = self.options.port or free_port()
        running = start(port, self._log(version))
        try:
            with blaming_ui(version.name, database.address):
                await_ui(running)
        except BaseException:
            running.stop()
            raise
        return running

    def _log(self, version: Service) -> Path:
        return self.logs / f"ui-{version.slug}.log"

    def _ended(self) -> dict[str, str]:
        """Return how each run ended of the kept stack, as the harness saw it."""
        if self.kept is None:
            return {}
        seen: dict[str, set[str]] = {}
        for entry in View(read(self.kept.folder)).attempts:
            # Where each service has a database of its own, runs of others have the same numbers.
            if entry.stage or entry.service == self.kept.service:
                for run, how in entry.ended.items():
                    seen.setdefault(run, set()).add(how)
        return {run: next(iter(how)) if len(how) == 1 else "" for run, how in seen.items()}

    def _live_runs(self, database: Database) -> LiveRuns | None:
        """Return runs on their way; None over somebody's own database, which is only read."""
        # Whoever asks for the runs of certain clients asks for no others.
        if self.kept is None or self.options.clients:
            return None
        live = LiveRuns(database.address, self.kept.service)
        self._ending.callback(live.remove)
        return live

    def _check(
        self,
        versions: Mapping[Service, Sequence[str]],
        database: Database,
        over: str,
        started: Callable[[Service, Database], AbstractContextManager[RunningUI]],
    ) -> int:
        """Judge what each UI shows of a sample of runs, and write the reports.

        Args:
            versions: the UIs, each with what is noted of it.
            database: that they are deployed over.
            over: what they are deployed over, and where they come from, in words.
            started: starts one of them.
        """
        live = self._live_runs(database)
        with reading(database.address):
            drawn = sample(database.address, self.options.clients, ended=self._ended())
        # What a check that was killed has left of its own is no client's.
        samples = tuple(one for one in drawn if one.client != WRITER)
        if samples and live is not None:
            samples = (*samples, *live.samples)
        if self.options.run is not None:
            drawn, wanted = samples, self.options.run
            samples = tuple(one for one in drawn if one.pathspec == wanted)
            if drawn and not samples:
                close = nearest(wanted, [one.pathspec for one in drawn])
                raise UsageError(f"--run {wanted}: not among the {len(drawn)} runs{close}")
        if not samples:
            whose = f" of {', '.join(self.options.clients)}" if self.options.clients else ""
            raise UsageError(f"{over}: no client{whose} has written a run there: nothing to check")
        checking = Checking(
            Record(self.id, self.folder, self._secrets),
            self.options,
            self.catalog,
            self.screen,
            source=self.kept.run if self.kept else "",
            database=database.address,
        )
        try:
            checking.begin(versions, samples, over)
            # Now there is a journal to draw reports of, and to run again from.
            self._results.make_latest()
            for version in versions:
                self._judge(checking, version, samples, partial(started, version, database), live)
        finally:
            red = checking.end()
        return red

    def _judge(
        self,
        checking: Checking,
        version: Service,
        samples: Sequence[SampleRun],
        started: Callable[[], AbstractContextManager[RunningUI]],
        live: LiveRuns | None,
    ) -> None:
        """Judge one UI; one that ends meanwhile is started again, for what it left unjudged.

        One that is killed from outside is so once. One that ends by itself has failed the runs of
        the client that it was asked about, and only these, unless that is at its start.
        """
        left, killed = list(samples), False
        while left:
            up = False
            try:
                with started() as running:
                    up = True
                    self.screen.say(f"{running.origin}: {running.page}")
                    with live.beating() if live else contextlib.nullcontext():
                        checking.judge(version, running, left, self.links)
            except ServiceError as error:
                left = checking.left(version, left)
                asked = [one for one in left if one.client == left[0].client]
                self._give_up(checking, version, asked if up else left, Status.FAIL, error)
            except InfraError as error:
                left = checking.left(version, left)
                self._give_up(checking, version, left, Status.INFRA, error)
                if killed or not up:
                    return
                killed = True
            else:
                return
            left = checking.left(version, left)
            if left:
                self.screen.say(f"the UI of {version.name} is started once more")

    def _give_up(
        self,
        checking: Checking,
        version: Service,
        samples: Sequence[SampleRun],
        status: Status,
        error: Exception,
    ) -> None:
        """Say why samples are not judged, and write it down."""
        self.screen.say(str(error))
        # Said once, with the log; in each cell its cause is enough.
        why = CheckOutcome(status, str(error).partition("; last lines")[0])
        checking.give_up(version, samples, why, self._log(version))

    def _wait(self, running: RunningUI) -> None:
        """Return when somebody presses Ctrl-C.

        Raises:
            InfraError: when the UI ends by itself.
        """
        self.screen.say("Ctrl-C stops it")
        try:
            running.wait()
        except KeyboardInterrupt:
            self.screen.say("stopped")
        else:
            running.check_alive()

    def _leave(self, running: RunningUI) -> None:
        """Let it run on when this process has ended; its lock, then free, is how it is found."""
        self._ending.pop_all()
        self._detached = True
        self._guard.dismiss()
        # It and its servers write their logs themselves, for nobody else will; what they do so
        # later is as they print it.
        for log in {running.log, *self.logs.rglob("*.log")}:
            KNOWN.log(log)
        self.screen.say(f"it goes on; {running.where_log}; nox -s clean ends it")

    def end(self) -> None:
        """Stop what runs, unless it was left on purpose."""
        if self._detached:
            return
        try:
            self._ending.close()
        finally:
            # What a stop that failed, or was interrupted, has left.
            disown(f"{self.id}/own")
            kill_marked(lambda mark: mark.startswith(f"{self.id}/"))
            kill_strays(self.folder / "work")
            for line in refusal(partial(end_group, self.id)):
                self.screen.say(line)
            shutil.rmtree(self.folder / "work", ignore_errors=True)
            self._guard.dismiss()
            if not any(path.is_file() for path in self.folder.rglob("*")):
                shutil.rmtree(self.folder)  # it was refused before anything was written
            self._lock.release()

    def _source(self) -> DataSource:
        if self.options.database_url is not None:
            return GivenDatabase(self.options.database_url, os.environ)
        assert self.kept is not None, "it is found before anything starts"
        ignore_variables()
        outlives = self.options.detach
        if self.kept.backend == "docker":
            engine = find_engine()
            self._ending.callback(engine.close)
            return KeptContainers(
                self.kept, engine, os.environ, self.logs, self.id, outlives=outlives
            )
        return KeptProcesses(self.kept, os.environ, self.logs, self.id, outlives=outlives)

    def _launcher(self, *, processes: bool) -> UILauncher:
        options = self.options
        if not processes:
            return self._containers()
        assert options.clone is not None, "checked before anything starts"
        assert options.assets is not None, "checked before anything starts"
        return CheckoutUI(
            options.clone,
            self.catalog,
            options.assets,
            self.folder / "work",
            self.id,
            whole=options.whole,
            triggers=options.triggers,
            outlives=options.detach,
        )

    def _containers(self) -> UILauncher:
        options = self.options
        engine = find_engine()
        self._ending.callback(engine.close)
        belongings = Belongings(engine, self.id)
        self._ending.callback(belongings.remove_all)
        images = Images(engine, options.pull, options.registry, self.screen.say)
        builds = self.logs / "builds"
        builder = None
        if options.clone is not None:
            builder = Builder(engine, belongings, options.clone, options.dockerfile, builds)
        page = None
        if options.image is not None or options.page_clone is not None:
            log = builds / "page.log"
            page = PageImage(images, options.image, options.page_clone, belongings, log)
        return ContainerUI(
            belongings,
            images,
            builder=builder,
            page=page,
            whole=options.whole,
            triggers=options.triggers,
        )
