"""Reads runs back with the client's own API. Run by the client's own Python, 3.6 or newer.

``python readback.py REQUEST ANSWER`` reads the request, ``{"deadline": seconds since 1970, "runs":
[{"flow_file", "flow", "run_id", "checks": [{"name", "kind", "action", "run_id", "rows"}],
"results": {action: {"run_id", "wrong", "code", "stdout", "stderr"}}, "listed": bool}]}``, and
writes the answer, a JSON list in the same order of ``{"checks": {name: outcome}, "inventory",
"listing": outcome}``.

The kind of a check is ``completed`` or ``failed``, for how its run must have ended, ``stored``, or
``probe`` for one in the flow's file; its run is the one it is given. Results are what came of the
probe's actions, the outputs as names of files; rows, where a check asks for them, those of its run
by table. An outcome is ``{"status": "pass" | "fail" |
"timeout" | "not-run", "reason", "rows": {table: [columns, …]}}``, and of one that asks for what an
action did not leave ``"because"``, its name. The inventory is what the API
lists of the run; it is None where it was not asked for, or could not be: then the listing says why.

Every check, and every listing, is made in a child process: what one of them leaves, breaks, or
never ends touches no other. The program imports nothing of the harness, and only names that every
Metaflow since 2.0.0 has. Its own parts lie beside it: that folder comes first where Python looks
for modules, so nothing in it may have the name of something that a client or a probe imports.
"""

import importlib.util
import json
import os
import select
import signal
import sys
import threading
import time
import traceback

from readback_checks import COMMON, NotThereError, arguments, is_promise, provided
from readback_words import short, tell

WORTH_IT = 4
"""Checks from which on it is loaded once for all: that takes a child and two loads."""

LOADED = {}
"""The one probe whose checks are made, by its file: each child begins with it newly loaded."""


def load_probe(path):
    """Import the probe's file as a module."""
    if path in LOADED:
        return LOADED[path]
    spec = importlib.util.spec_from_file_location("probe", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def outcome(status, reason="", rows=None):
    """Return what came of a check or a listing."""
    return {"status": status, "reason": reason, "rows": rows or {}}


def apply_check(request, check):
    """Make one check and tell what came of it."""
    path = request["flow_file"]
    try:
        from metaflow import namespace  # noqa: PLC0415 - found in the client's environment only

        function = COMMON.get(check["kind"]) or getattr(load_probe(path), "check_" + check["name"])
        namespace(None)  # the probe's file may have set one
        rows = function(**arguments(function, provided(request, check)))
        rows = {} if rows is None else rows
        assert is_promise(rows), "returned %s, not {table: [columns, ...]}" % short(rows)
        json.dumps(rows)
    except NotThereError as error:
        return dict(outcome("not-run", str(error)), because=error.action)
    except BaseException as error:  # noqa: BLE001 - a check may fail in any way; the reason is kept
        return outcome("fail", tell(error, path))
    return outcome("pass", rows=rows)


def apply_listing(pathspec, by_path):
    """List a run and tell what came of it; see ``inventory``."""
    try:
        found = inventory(pathspec, by_path)
        json.dumps(found)
    except BaseException as error:  # noqa: BLE001 - whatever it was, the run could not be listed
        return {"inventory": None, "listing": outcome("fail", tell(error))}
    return {"inventory": found, "listing": outcome("pass")}


def in_child(function, seconds):
    """Call a function in a child process; return what it returned, as JSON knows it.

    Returns:
        It, and None; or None and the outcome that says why there is none.
    """
    flush()  # or the child says it again
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        answer_and_exit(function, writing)
    os.close(writing)
    line, late = read_line(reading, time.monotonic() + seconds)
    os.close(reading)
    os.kill(child, signal.SIGKILL)  # where it has ended already, it is only waited for
    _, status = os.waitpid(child, 0)
    if late:
        return None, outcome("timeout", "not done within %.3g s" % seconds)
    if not line:
        how = "exit code %d" % (status >> 8) if status >> 8 else "signal %d" % (status & 127)
        how = how if status else "an exit as if all were well"
        return None, outcome("fail", "ended the process that made it, by %s" % how)
    try:
        return json.loads(line.decode("ascii")), None
    except (ValueError, RecursionError) as error:
        return None, outcome("fail", "left an answer that cannot be read: %s" % tell(error))


def flush():
    """Write out what was printed."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()


def answer_and_exit(function, writing):
    """Write what a function returns, as one line, and end this process for good."""
    try:
        data = json.dumps(function()).encode("ascii") + b"\n"
        try:
            flush()  # whoever reads the answer kills this process at once
        finally:
            while data:
                data = data[os.write(writing, data) :]
    finally:
        os._exit(0)  # no thread or handler that a check left keeps it alive


def read_line(reading, deadline):
    """Return the first line of a pipe, empty if it ends before, and whether that took too long."""
    data = b""
    while b"\n" not in data:
        ready, _, _ = select.select([reading], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return b"", True
        part = os.read(reading, 1 << 16)
        if not part:
            return b"", False
        data += part
    return data.split(b"\n")[0], False


def inventory(pathspec, by_path):
    """List the run: its tags, and each task's artifacts and metadata, by step and task.

    Where ``by_path`` is true, one of the tasks is fetched by its path, too: who goes from step to
    step lists them, and never asks for one.
    """
    import metaflow  # noqa: PLC0415 - found in the client's environment only

    metaflow.namespace(None)
    run = metaflow.Run(pathspec)
    steps = {}
    for step in run:
        steps[step.id] = {
            task.id: {
                "artifacts": sorted(artifact.id for artifact in task),
                "metadata": sorted("%s=%s" % (item.name, item.value) for item in task.metadata),
            }
            for task in step
        }
    if by_path and steps:
        step = min(steps)
        name, told = min(steps[step].items())
        task = metaflow.Task("%s/%s/%s" % (pathspec, step, name))
        assert sorted(artifact.id for artifact in task) == told["artifacts"], (
            "%s has other artifacts by its path than in the list of tasks" % task.pathspec
        )
    return {"tags": sorted(run.tags), "steps": steps}


class Clock:
    """Gives each check and listing its time: half of what is left, while others wait behind it."""

    def __init__(self, deadline, items):
        self.deadline = time.monotonic() + deadline - time.time()
        self.waiting = items

    def limit(self):
        """Return how many seconds the next one may take; 0 when the time is over."""
        self.waiting -= 1
        left = max(0.0, self.deadline - time.monotonic())
        return left / 2 if self.waiting else left


def timed(function, clock):
    """Call a function in a child process as long as the clock lets it; see ``in_child``."""
    seconds = clock.limit()
    if not seconds:
        return None, outcome("not-run", "the time was over before it began")
    return in_child(function, seconds)


def load_once(runs, seconds):
    """Load the probe that all checks are of, for each of their children to have it as it is then.

    A client takes a flow's file apart as it is loaded, which costs more than many a check. A file
    that breaks, hangs or leaves a thread is loaded by each child for itself, and so are several.
    """
    checks = [(run["flow_file"], check["kind"]) for run in runs for check in run["checks"]]
    paths = {path for path, kind in checks if kind not in COMMON}
    if len(paths) != 1 or len(checks) < WORTH_IT:
        return
    (path,) = paths
    loads, _ = in_child(lambda: bool(load_probe(path)) and threading.active_count() == 1, seconds)
    if loads:
        LOADED[path] = load_probe(path)


def read_run(request, clock):
    """Answer one request."""
    checks = {}
    for check in request["checks"]:
        made, failed = timed(lambda check=check: apply_check(request, check), clock)
        checks[check["name"]] = failed or made
    answer = {"inventory": None, "listing": outcome("pass")}
    if request["listed"]:
        pathspec = "%s/%s" % (request["flow"], request["run_id"])
        listed, failed = timed(lambda: apply_listing(pathspec, request["by_path"]), clock)
        answer = listed or {"inventory": None, "listing": failed}
    return dict(answer, checks=checks)


def main(request_file, answer_file):
    """Answer all requests."""
    with open(request_file, encoding="utf-8") as file:
        request = json.load(file)
    try:
        import metaflow  # noqa: F401, PLC0415 - once, for all the children
    except Exception:  # noqa: BLE001 - each child meets it again, and tells it
        traceback.print_exc()
    load_once(request["runs"], (request["deadline"] - time.time()) / 2)
    clock = Clock(
        request["deadline"], sum(len(run["checks"]) + run["listed"] for run in request["runs"])
    )
    answers = [read_run(run, clock) for run in request["runs"]]
    with open(answer_file, "w", encoding="utf-8") as file:
        json.dump(answers, file)
    flush()
    os._exit(0)  # nothing is left to do that takes time


if __name__ == "__main__":
    main(*sys.argv[1:])
