"""``nox -s clean``: removes what killed runs left on this machine, and only that.

A run that lives holds its lock (``harness.machine.locks``). What belongs to no run of this project,
or to one of another machine that shares the Docker engine, is left alone. What was kept on purpose
(``harness.stack.kept_stack``), and the stages that a walk goes on behind
(``harness.run.saved_stage``), go when their run is named. With ``--dry-run`` nothing goes.
"""

from __future__ import annotations

import os
import shlex
import shutil
from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from socket import gethostname
from typing import NamedTuple

from harness.cli.parser import build_parser
from harness.core.entries import Begun
from harness.core.journal import read
from harness.machine.control_group import end_group, in_group, noted_groups
from harness.machine.errors import InfraError, UsageError, nearest, one_line
from harness.machine.locks import claim_if_dead, is_alive, lock_path, locks
from harness.machine.processes import kill_marked, marked_processes
from harness.machine.strays import kill_strays, strays
from harness.run.saved_stage import all_saved, remove_saved
from harness.stack.backend import DATABASE_FOLDERS
from harness.stack.containers.engine import Engine, find_engine
from harness.stack.containers.own import (
    HOST_LABEL,
    KEEP_LABEL,
    LABEL,
    LOCK_LABEL,
    Found,
    Thing,
    find,
)
from harness.stack.database.cluster import end_server, remove_leftovers, running_server
from harness.stack.kept_stack import EMBEDDED, Kept, all_kept, forget, run_named
from harness.stack.store.noted import Noted, all_noted
from harness.stack.store.noted import forget as forget_objects
from harness.stack.store.noted import note as note_objects
from harness.stack.store.objects import ObjectStoreError, S3Root
from harness.stack.store.s3 import aws_variables
from harness.ui.data_links import left_links, restore_all


class Step(NamedTuple):
    """Something that goes.

    Attributes:
        what: it, as the rest of a sentence that begins with "would remove".
        do: removes it, and yields a line for each thing that was done.
    """

    what: str
    do: Callable[[], Iterable[str]]


def clean(run_ids: Sequence[str] = (), *, dry: bool = False) -> Iterator[str]:
    """Remove what killed runs left; yield a line for each thing that was done.

    Args:
        run_ids: ended runs whose kept stacks go as well, by id or results folder.
        dry: remove nothing, and yield what would go.

    Raises:
        UsageError: for the id of a run that has nothing here, or whose stack a UI uses.
        InfraError: when something refuses to go; after all else has gone.
    """
    refused: list[str] = []
    for step in _steps([run_named(name) for name in run_ids]):
        if isinstance(step, str):
            yield step
        elif dry:
            yield f"would remove {step.what}"
        else:
            try:
                yield from step.do()
            except InfraError as error:
                refused.append(str(error))
    if refused:
        raise InfraError("\n".join(refused))


def _steps(run_ids: Sequence[str]) -> Iterator[Step | str]:
    """Yield what goes, in the order in which it has to, and lines on what stays."""
    # Found out once and first: a run that is killed meanwhile is left to the next time.
    dead = {path.stem: path for path in locks() if not is_alive(path)}
    folders = {name: Path(path.read_text(encoding="utf-8")) for name, path in dead.items()}
    kept = {one.run: one for one in all_kept()}
    saved = {run: at for run, at in all_saved().items() if not is_alive(lock_path(run))}
    for run_id in run_ids:
        if run_id in kept and kept[run_id].in_use():
            raise UsageError(f"{run_id}: a UI that runs uses it; stop that first")
    yield from _clean_engine(run_ids, {*dead, *saved, *all_noted()}, kept)
    # The databases first: asked to end, they give their shared memory back.
    for one in kept.values():
        yield from _clean_kept(one, named=one.run in run_ids)
    for name in sorted(dead):
        yield _of_processes(name, folders[name], keep=name in kept)
    yield from _of_groups(dead)
    yield from _of_objects(kept, run_ids)
    for name, at in saved.items():
        folders[name] = at.parent
        if name in run_ids:
            yield Step(f"{at}, the saved stages of {name}", partial(_clean_saved, name, at))
    for name, folder in sorted(folders.items()):
        if name not in run_ids and name not in kept:
            yield from _can_go_on(folder, saved.get(name))


def _of_objects(kept: Mapping[str, Kept], run_ids: Sequence[str]) -> Iterator[Step | str]:
    """Yield the steps that remove what killed runs, and named ones, stored in users' buckets."""
    places = {name: place for name, place in all_noted().items() if name not in kept}
    places |= {name: noted for name in run_ids if name in kept and (noted := _kept_in(kept[name]))}
    for name, place in places.items():
        if is_alive(lock_path(name)):
            continue
        if place.kept and name not in run_ids:
            yield f"{name}: kept as asked for; remove it with: nox -s clean -- {name}"
        else:
            where = f"{place.root.url} at {place.endpoint or 'Amazon S3'}"
            yield Step(f"the objects of {name} in {where}", partial(_clean_objects, name, place))


def _kept_in(kept: Kept) -> Noted | None:
    """Return where in a bucket of the user's a run kept what it stored; None for nowhere."""
    store = kept.stores.get("s3")
    if store is None:
        return None
    root = S3Root.parse(store["root"], "kept")
    return Noted(root.bucket, root.prefix, store["endpoint"] or None)


def _of_groups(dead: Container[str]) -> Iterator[Step]:
    """Yield the steps that remove the control groups that runs could not remove at their end."""
    for name in noted_groups():
        if name not in dead and not is_alive(lock_path(name)):
            ids = ", ".join(map(str, in_group(name))) or "none"
            what = f"the control group of {name}, with the processes {ids}"
            yield Step(what, partial(_clean_group, name))


def _clean_group(run_id: str) -> Iterator[str]:
    yield f"{run_id}: ended {len(end_group(run_id))} processes, removed their control group"


def _clean_saved(run_id: str, at: Path) -> Iterator[str]:
    remove_saved(run_id, at)
    yield f"{run_id}: removed the saved stages of its walk"


def _clean_objects(run_id: str, place: Noted) -> Iterator[str]:
    """Remove what a killed run stored in a bucket of the user's, or say where it is."""
    try:
        count = place.remove(aws_variables(os.environ))
    except (ObjectStoreError, InfraError) as error:
        yield (
            f"{run_id}: its objects in {place.root.url} at {place.endpoint or 'Amazon S3'} could"
            f" not be removed: {one_line(error)}; set the AWS variables that it had, or remove them"
            " by hand"
        )
        return
    forget_objects(run_id)
    yield f"{run_id}: removed {count} objects in {place.root.url}"


def _can_go_on(folder: Path, saved: Path | None) -> Iterator[str]:
    """Yield a line on what of a run is left, and on the command that goes on with it."""
    try:
        begun = read(folder)[0]
    except UsageError:
        return  # somebody removed its results: nothing is left to go on with
    if isinstance(begun, Begun):
        kept = f"its journal and {saved}" if saved else "its journal"
        removal = f"; nox -s clean -- {folder.name} removes the latter" if saved else ""
        words = shlex.join(["nox", "-s", begun.session, "--", "--resume", str(folder)])
        yield f"{folder.name}: kept {kept}, to go on with: {words}{removal}"


def clear(run_id: str, *, containers: bool) -> Iterator[str]:
    """Remove what one run left that was killed, so that it can go on; yield a line for each thing.

    Args:
        run_id: of the run, which has kept nothing.
        containers: whether it had an engine's.

    Raises:
        InfraError: when something refuses to go.
    """
    if containers:
        engine = find_engine()
        with engine.doing(f"removing what {run_id} left on the engine"):
            for name, found in _by_run(find(engine, run_id)).items():
                for step in _clean_run(engine, name, found, named=True, recorded=False):
                    yield from [step] if isinstance(step, str) else step.do()
        engine.close()
    if lock_path(run_id).exists():
        yield from _clean_processes(run_id, keep=False)


def clean_main(arguments: Sequence[str]) -> int:
    """Do ``nox -s clean -- RUN …`` and return 0; the errors are those of ``clean``."""
    done = False
    raw = build_parser("clean").read(arguments)
    for line in clean(raw.runs, dry=raw.dry_run):
        print(line)
        done = True
    if not done:
        print("killed runs left nothing")
    return 0


def _of_processes(run_id: str, folder: Path, *, keep: bool) -> Step:
    """Return the step that ends what a killed run left running."""
    found = [pid for pid, mark in marked_processes() if _is_of(run_id, mark)] + in_group(run_id)
    work = folder / "work"
    found += [] if keep else [one.pid for one in strays(work)]
    ids = ", ".join(map(str, dict.fromkeys(found))) or "none"
    files = "" if keep or not work.exists() else f", and {work}"
    what = f"the processes of {run_id} ({ids}){files}"
    return Step(what, partial(_clean_processes, run_id, keep=keep))


def _is_of(run_id: str, mark: str) -> bool:
    return mark == run_id or mark.startswith(f"{run_id}/")


def _clean_processes(run_id: str, *, keep: bool) -> Iterator[str]:
    """End what a killed run left running, and remove its files.

    Args:
        run_id: of the run.
        keep: whether it had written down what it keeps: its files are ``_clean_kept``'s then.
    """
    with claim_if_dead(lock_path(run_id)) as folder:
        if folder is None:
            return
        work = folder / "work"
        if not keep:
            # The database first: asked to end, it gives its shared memory back.
            _remove_databases(work)
        # By mark, not by pid: what was noted of a killed run's processes may be anybody's by now.
        killed = kill_marked(partial(_is_of, run_id))
        killed += [pid for pid in end_group(run_id) if pid not in killed]
        if not keep:
            killed += kill_strays(work)
            _remove_folder(work)
    files = "" if keep else ", removed its working folder"
    yield f"{run_id}: ended {len(killed)} processes{files}"


def _remove_databases(work: Path) -> None:
    """End every server of a run, and remove its cluster."""
    for folder in sorted(work.glob(DATABASE_FOLDERS)):
        try:
            remove_leftovers(folder)
        except OSError as error:
            raise _refused(folder, error) from error


def _remove_folder(folder: Path) -> None:
    # First whatever goes: one file that is refused must not keep the others.
    shutil.rmtree(folder, ignore_errors=True)
    if os.path.lexists(folder):
        try:
            shutil.rmtree(folder)  # again, for the cause
        except OSError as error:
            raise _refused(folder, error) from error


def _refused(folder: Path, error: OSError) -> InfraError:
    return InfraError(f"{folder} could not be removed, and stays known to nox -s clean: {error}")


def _clean_kept(kept: Kept, *, named: bool) -> Iterator[Step | str]:
    """Yield what a run kept beside its containers, or just what killed UIs left of it."""
    if kept.in_use():
        yield f"{kept.run}: left alone: a UI that runs uses it"
        return
    embedded = kept.backend == EMBEDDED
    if embedded and running_server(Path(kept.place["home"]) / "data"):
        what = f"the database server that a UI left over what {kept.run} kept"
        yield Step(what, partial(_end_kept_server, kept))
    if left := left_links(kept.data):
        yield Step(", ".join(map(str, left)), partial(_restore, kept))
    if named:
        yield Step(f"{kept.data}, which {kept.run} kept", partial(_remove_kept, kept))
    elif embedded:
        yield f"{kept.run}: kept as asked for; remove it with: nox -s clean -- {kept.run}"


def _restore(kept: Kept) -> Iterator[str]:
    restore_all(kept.data)
    return iter(())


def _end_kept_server(kept: Kept) -> Iterator[str]:
    if end_server(Path(kept.place["home"]) / "data"):
        yield f"{kept.run}: ended the database server that a UI left"


def _remove_kept(kept: Kept) -> Iterator[str]:
    embedded = kept.backend == EMBEDDED
    if embedded:
        _remove_databases(kept.data)
    _remove_folder(kept.data)
    if place := _kept_in(kept):
        # Known as a killed run's are, until they are removed.
        note_objects(kept.run, place.root, place.endpoint)
    forget(kept.run)
    what = "the kept database and the data" if embedded else "the data"
    yield f"{kept.run}: removed {what} of its clients"


def _clean_engine(
    run_ids: Sequence[str], dead: set[str], kept: Mapping[str, Kept]
) -> Iterator[Step | str]:
    try:
        engine = find_engine()
    except InfraError as error:
        for name in run_ids:
            if name in dead:
                continue
            if name not in kept:
                raise UsageError(
                    f"no run {name} has kept anything here{nearest(name, kept)}; an engine was not"
                    f" asked: {error}"
                ) from error
            if kept[name].backend != EMBEDDED:
                raise
        yield f"containers: not looked for: {error}"
        return
    with engine.doing("removing what killed runs left on the engine"):
        runs = _by_run(find(engine))
        for run_id in run_ids:
            _check_named(run_id, runs, dead | set(kept))
        # What was kept comes last: a UI that was left may still be in its network.
        for run_id, found in sorted(runs.items(), key=lambda item: item[0] in run_ids):
            recorded = run_id in kept
            named = run_id in run_ids
            yield from _clean_run(engine, run_id, found, named=named, recorded=recorded)
    engine.close()


def _clean_run(
    engine: Engine, run_id: str, found: Found, *, named: bool, recorded: bool
) -> Iterator[Step | str]:
    labels = _labels(next(iter(found)))
    lock = Path(labels.get(LOCK_LABEL, ""))
    # Its lock is a file of that machine: whether it lives cannot be told from here.
    if labels.get(HOST_LABEL) != gethostname():
        yield f"{run_id}: left alone: it is a run of the machine {labels.get(HOST_LABEL)}"
    elif is_alive(lock):
        yield f"{run_id}: left alone: it is running"
    elif labels.get(KEEP_LABEL) == "yes" and (recorded or not lock.exists()) and not named:
        yield f"{run_id}: kept as asked for; remove it with: nox -s clean -- {run_id}"
    else:
        names = [str(thing.name if hasattr(thing, "name") else thing.id) for thing in found]
        what = f"of {run_id} on the engine: {', '.join(names)}"
        yield Step(what, partial(_remove_found, engine, run_id))


def _remove_found(engine: Engine, run_id: str) -> Iterator[str]:
    # Asked again: it may have been starting something when all was listed.
    found = find(engine, run_id)
    found.remove()
    yield (
        f"{run_id}: removed {len(found.containers)} containers, {len(found.networks)} networks,"
        f" {len(found.volumes)} volumes and {len(found.images)} images"
    )


def _check_named(run_id: str, runs: dict[str, Found], others: set[str]) -> None:
    if run_id not in runs and run_id not in others:
        known = [*runs, *sorted(others)]
        raise UsageError(
            f"the run {run_id} has nothing here that could go; there are:"
            f" {', '.join(known) or 'none'}"
        )


def _by_run(found: Found) -> dict[str, Found]:
    runs: defaultdict[str, Found] = defaultdict(lambda: Found([], [], [], []))
    for kind in ("containers", "networks", "volumes", "images"):
        for thing in getattr(found, kind):
            getattr(runs[_labels(thing)[LABEL]], kind).append(thing)
    return dict(sorted(runs.items()))


def _labels(thing: Thing) -> dict[str, str]:
    attributes = thing.attrs
    labels: dict[str, str] = attributes.get("Labels") or attributes["Config"]["Labels"]
    return labels
