"""Does units of a run on a worker of a Dask cluster. It imports nothing of the harness.

Workers have Python, Dask and nox: this file comes to each of them by itself, with all else of the
harness put into it as SOURCE. That is laid out in the folder of the worker, and a nox of it serves
the units of a run: what it needs, the environments of clients and the stacks, is made there and
used again until the run ends, or nobody asks for anything any more.

A request is ``run``, its id, ``session``, ``words``, which follow ``--``, and ``cells``, what is
asked of each of the unit (``cluster.AskedCell``). The answer is ``place``, where it was done,
``lines`` of a journal, ``files`` that these name, each in base64, and ``refused``, by the id of
each cell that is another one there why it was not run.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

SOURCE = ""
"""The harness as a zip, in base64; written behind this file when it is given to workers."""

UNITS = "METAFLOW_COMPAT_UNITS"
"""The variable by which a nox is told that it serves units, and by which two pipes it does so."""

Answer = dict[str, Any]

# A worker may have nothing to do for a while because others do the rest of the run, or because
# whoever began it was killed: nobody tells which.
_IDLE_SECONDS = 60.0
_LOOK_SECONDS = 1.0
# Of a service and a database that end in order, and then those of what does not.
_END_SECONDS = 120.0
# One that ends by itself is started again so often: what ended it may be over.
_CRASHES = 2
_LAST_LINES = 8

# Each run gives this file to workers anew, which load it again where it is there.
_LOCK: threading.Lock = globals().get("_LOCK") or threading.Lock()
_SERVING: dict[str, list[Serving]] = globals().get("_SERVING", {})
"""By run, what served and serves it."""
_ENDED: set[str] = globals().get("_ENDED", set())
"""Runs that nothing is done for any more."""


class EndedError(Exception):
    """A nox that served units has ended before it answered."""


class Serving:
    """A nox of the harness that serves the units of one run on this worker.

    Args:
        request: the first one.
        home: folder of the harness's source.
        slot: a number that no other has which serves now: two runs at a time do not share
            environments.
        threads: cells at a time, where the run does not say it.
    """

    def __init__(self, request: Answer, home: Path, slot: int, threads: int) -> None:
        self.slot = slot
        # Short, as is all above it: services keep locations of artifacts in 255 characters.
        self._folder = Path(tempfile.mkdtemp(prefix="r", dir=home))
        # Databases of root run as somebody else.
        self._folder.chmod(0o755)
        self._log = self._folder / "nox.txt"
        self._lock = threading.Lock()
        self._waiting: dict[int, Future[Answer]] = {}
        self._asked = 0
        self._since = time.monotonic()
        self._over = threading.Event()
        self.crashed = False
        self.answered = False
        self.why = ""
        """How it ended."""
        self.last: Answer | None = None
        """What it told of when it ended in order."""
        words = list(request["words"])
        if "--jobs" not in words:
            words += ["--jobs", str(threads)]
        command = [sys.executable, "-m", "nox", "-f", str(home / "noxfile.py")]
        command += ["--envdir", str(home / f".nox-{slot}")]
        command += ["-s", request["session"], "--", *words, "--results", str(self._folder)]
        with self._log.open("wb") as log:
            its_requests, requests = os.pipe()
            answers, its_answers = os.pipe()
            self._process = subprocess.Popen(
                command,
                cwd=home,
                env={**_environment(), UNITS: f"{its_requests},{its_answers}"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=(its_requests, its_answers),
                # Ctrl-C at the worker ends the worker; this one sees that, and ends in order.
                start_new_session=True,
            )
        os.close(its_requests)
        os.close(its_answers)
        self._requests = os.fdopen(requests, "w", encoding="utf-8")
        self._listener = threading.Thread(target=self._listen, args=(answers,), daemon=True)
        self._listener.start()
        threading.Thread(target=self._watch, daemon=True).start()

    @property
    def busy(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    @property
    def over(self) -> bool:
        """Whether it is asked no more."""
        return self._over.is_set()

    def ask(self, cells: Sequence[Answer]) -> Answer | None:
        """Let it do a unit; return the answer, None where it is asked no more.

        Raises:
            EndedError: when it ends before it answers.
        """
        with self._lock:
            if self.over:
                return None
            self._asked += 1
            number, answer = self._asked, Future[Answer]()
            self._waiting[number] = answer
            with suppress(OSError):  # it has ended, which the listener tells of
                print(json.dumps({"number": number, "cells": cells}), file=self._requests)
                self._requests.flush()
        return answer.result()

    def end(self, *, now: bool = False) -> Answer | None:
        """Let it end in order, at once or when it has done what it is at; return what it tells."""
        self._close()
        if now:
            # nox alone: it ends all that it has started, in order.
            self._process.terminate()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._listener.join()
        shutil.rmtree(self._folder, ignore_errors=True)
        return self.last

    def _close(self) -> None:
        with self._lock:
            if not self.over:
                self._over.set()
                with suppress(OSError):  # it has ended by itself
                    self._requests.close()

    def _watch(self) -> None:
        """End it when nobody has asked for anything for a while."""
        while not self._over.wait(_LOOK_SECONDS):
            if self._waiting:
                self._since = time.monotonic()
            elif time.monotonic() - self._since > _IDLE_SECONDS:
                self.end()

    def _listen(self, answers: int) -> None:
        with os.fdopen(answers, encoding="utf-8") as told:
            for line in told:
                self._hear(json.loads(line))
        code = self._process.wait()
        self.crashed = not self.over
        self.why = f"its harness ended with exit code {code}: {self._last_words()}"
        self._close()
        for number in list(self._waiting):
            self._fail(number, self.why)

    def _hear(self, answer: Answer) -> None:
        number = answer.pop("number")
        try:
            whole = with_files(answer)
        except OSError as error:
            self._fail(number, f"what it left cannot be read: {error}")
            return
        self._since = time.monotonic()
        if number is None:
            self.last = whole
        else:
            self.answered = True
            self._waiting.pop(number).set_result(whole)

    def _fail(self, number: int, why: str) -> None:
        waiting = self._waiting.pop(number, None)
        if waiting is not None:
            waiting.set_exception(EndedError(why))

    def _last_words(self) -> str:
        """Return the line that says why it ended, or else its last ones."""
        try:
            lines = self._log.read_text("utf-8", "replace").splitlines()
        except OSError as error:
            return str(error)
        errors = [line for line in lines if line.startswith("error: ")]
        return "\n".join(errors[:1] or lines[-_LAST_LINES:])


def with_files(answer: Answer) -> Answer:
    """Return an answer with the files that its lines name, in place of the folder they are in."""
    folder = Path(answer.pop("folder"))
    files = {}
    for line in answer["lines"]:
        entry = json.loads(line)
        for path in (*entry.get("evidence", {}).values(), entry.get("log")):
            # A cell that was ended may have left no file.
            if path and (folder / path).is_file():
                files[path] = base64.b64encode((folder / path).read_bytes()).decode()
    # Workers may begin in the same second: the folder above has a name that no other has.
    return {**answer, "place": f"{folder.name}.{folder.parent.name}", "files": files}


def _environment() -> dict[str, str]:
    """Return this worker's environment without what is set for a Metaflow of its user's own."""
    ours = "METAFLOW_COMPAT_"
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("METAFLOW_") or name.startswith(ours)
    }


def do(request: Answer) -> Answer:
    """Do a unit on this worker; see this module.

    Returns:
        The answer; or ``failed``, why there is none, and ``useless``, whether this worker can do
        nothing at all. Each with ``worker``, its address.
    """
    # The harness, which has no Dask beside it, loads this file, too.
    from distributed import get_worker  # noqa: PLC0415

    worker = get_worker()
    one = None
    try:
        while True:
            one = _serving(request, worker)
            answer = one.ask(request["cells"])
            if answer is not None:
                return {**answer, "worker": worker.address}
    except Exception as error:  # noqa: BLE001 - told, whatever it is: another worker may do it
        # What has answered before was ended by something that it did.
        useless = one is None or not one.answered
        return {"failed": str(error), "useless": useless, "worker": worker.address}


def _serving(request: Answer, worker: Any) -> Serving:
    """Return what serves a run on a worker; it is started where nothing does.

    Raises:
        EndedError: when the run has ended, or what served it did too often.
        OSError: when it cannot be started.
    """
    with _LOCK:
        if request["run"] in _ENDED:
            raise EndedError("the run has ended")
        several = _SERVING.setdefault(request["run"], [])
        if several and not several[-1].over:
            return several[-1]
        if sum(one.crashed for one in several) > _CRASHES:
            raise EndedError(several[-1].why)
        if find_spec("nox") is None:
            raise EndedError(f"{sys.executable} has no nox: python -m pip install 'nox[uv]'")
        taken = {one.slot for them in _SERVING.values() for one in them if one.busy}
        slot = next(number for number in count() if number not in taken)
        home = laid_out(Path(worker.local_directory))
        several.append(Serving(request, home, slot, worker.state.nthreads))
        return several[-1]


def laid_out(folder: Path) -> Path:
    """Return the folder of the harness's source in that of a worker; it is made the first time."""
    packed = base64.b64decode(SOURCE)
    home = folder / hashlib.sha256(packed).hexdigest()[:8]
    if not home.exists():
        unfinished = home.with_suffix(".tmp")
        shutil.rmtree(unfinished, ignore_errors=True)
        with zipfile.ZipFile(io.BytesIO(packed)) as source:
            for one in source.infolist():
                # Python lays out none of the rights: of a program it could not be run.
                Path(source.extract(one, unfinished)).chmod(one.external_attr >> 16 & 0o777)
        unfinished.rename(home)
    return home


async def finish(run: str, *, now: bool) -> list[Answer]:
    """End what serves a run on this worker; return what is left to be told of it."""
    with _LOCK:
        _ENDED.add(run)
        several = _SERVING.pop(run, [])
    # In threads: the worker has to answer its scheduler meanwhile.
    ends = [asyncio.to_thread(one.end, now=now) for one in several]
    return [answer for answer in await asyncio.gather(*ends) if answer is not None]
