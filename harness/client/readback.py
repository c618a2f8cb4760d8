"""Reads runs back with the client's own API. Run by the client's own Python, 3.6 or newer.

``python readback.py REQUEST ANSWER`` reads the request, ``{"deadline": seconds since 1970, "runs":
[{"flow_file", "flow", "run_id", "checks": [{"name", "kind", "action", "run_id"}], "results":
{action: {"run_id", "wrong", "code", "stdout", "stderr"}}, "listed": bool}]}``, and writes the
answer, a JSON list in the same order of ``{"checks": {name: outcome}, "inventory", "listing":
outcome}``.

The kind of a check is ``completed`` or ``failed``, for how its run must have ended, ``stored``, or
``probe`` for one in the flow's file; its run is the one it is given. Results are what came of the
probe's actions, the outputs as names of files. An outcome is ``{"status": "pass" | "fail" |
"timeout" | "not-run", "reason", "rows": {table: [columns, …]}}``, and of one that asks for what an
action did not leave ``"because"``, its name. The inventory is what the API
lists of the run; it is None where it was not asked for, or could not be: then the listing says why.

Every check, and every listing, is made in a child process: what one of them leaves, breaks, or
never ends touches no other. The program imports nothing of the harness, and only names that every
Metaflow since 2.0.0 has.
"""

import ast
import importlib.util
import inspect
import json
import linecache
import os
import reprlib
import select
import signal
import sys
import time
import traceback
from pathlib import Path

MOST_CAUSES = 3
"""How many of the exceptions that led to another are told."""

SHORT = reprlib.Repr()
SHORT.maxstring = SHORT.maxother = 80


def load_probe(path):
    """Import the probe's file as a module."""
    spec = importlib.util.spec_from_file_location("probe", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def check_run(run):
    """Assert what every finished run shows."""
    assert run.finished, "%s is not finished" % run.pathspec
    assert run.successful, "%s is not successful" % run.pathspec
    return {"runs_v3": [{}]}


def check_failed_run(run):
    """Assert what a run that failed on purpose shows."""
    assert not run.successful, "%s failed and is read back successful" % run.pathspec
    assert not run.finished, "%s failed and is read back finished" % run.pathspec
    return {"runs_v3": [{}]}


def object_url(flow, artifact):
    """Return where an artifact's object is, from what its client says of it.

    Releases up to 2.3 name the object; from 2.4.0 on they name the datastore's root, in which
    the object lies under its checksum.
    """
    location, sha = artifact["location"], artifact["sha"]
    if not location.startswith(":root:"):
        return location
    root = location[len(":root:") :].rstrip("/")
    return "/".join([root, flow, "data", sha[:2], sha])


def check_stored(run):
    """Promise the row and the object of every artifact, as its client describes it."""
    rows, urls = [], set()
    for step in run:
        for task in step:
            for artifact in task:
                # The public API shows the checksum alone, and not where the object is.
                described = artifact._object  # noqa: SLF001
                urls.add(object_url(run.parent.id, described))
                row = {"step_name": step.id, "name": artifact.id}
                row.update({name: described[name] for name in ("sha", "location")})
                rows.append(row)
    assert rows, "%s has no artifacts" % run.pathspec
    return {"artifact_v3": rows, "objects": [{"url": url} for url in sorted(urls)]}


# The checks that belong to no probe.
COMMON = {"completed": check_run, "failed": check_failed_run, "stored": check_stored}


class NotThereError(Exception):
    """A check asks for what came of an action that did not end as it should."""

    def __init__(self, action, why):
        super().__init__("the action %s: %s" % (action, why))
        self.action = action


class Output:
    """What a check may know of how an action's program ended.

    ``code`` is its exit code; ``stdout`` and ``stderr`` are what it printed, as text. What a run or
    a resume printed is all in ``stdout``.
    """

    def __init__(self, result):
        self.code = result["code"]
        self._stdout, self._stderr = result["stdout"], result["stderr"]

    @property
    def stdout(self):
        """The standard output."""
        text = self._read(self._stdout)
        # The harness puts the command before what the two outputs together are.
        return text if self._stderr else text.partition("\n")[2]

    @property
    def stderr(self):
        """The standard error."""
        return self._read(self._stderr) if self._stderr else ""

    @staticmethod
    def _read(name):
        with open(name, encoding="utf-8", errors="replace") as file:
            return file.read()


class ByAction:
    """What came of the actions, by name."""

    def __init__(self, results, make):
        self._results, self._make = results, make

    def __getitem__(self, name):
        result = self._results.get(name, {"wrong": "it was not done"})
        if result["wrong"]:
            raise NotThereError(name, result["wrong"])
        return self._make(result)


def provided(request, check):
    """Return what a check's function may ask for, each as a function that makes it."""
    from metaflow import Run  # noqa: PLC0415 - found in the client's environment only

    def run(result):
        return Run("%s/%s" % (request["flow"], result["run_id"]))

    runs, outputs = (ByAction(request["results"], make) for make in (run, Output))
    return {
        "run": lambda: run(check),
        "runs": lambda: runs,
        "output": lambda: outputs[check["action"]],
        "outputs": lambda: outputs,
    }


def arguments(function, known):
    """Return the arguments a function asks for; the first one is the run, whatever its name."""
    wanted = {}
    for at, name in enumerate(inspect.signature(function).parameters):
        if name in known:
            wanted[name] = known[name]()
        elif not at:
            wanted[name] = known["run"]()
    return wanted


def short(value):
    """Return a value as text of one short line, whatever its own ``repr`` does."""
    try:
        # It cuts what is in lists and strings before it is written out.
        return SHORT.repr(value if type(value) is not bytes else value[:80])[:120]
    except Exception as error:  # noqa: BLE001 - anything may be wrong with an object of a probe's
        return "<%s without a repr: %s>" % (type(value).__name__, type(error).__name__)


def text_of(error):
    """Return what an exception says: Metaflow's keep some of it where ``str`` does not look."""
    try:
        said = str(error)
    except Exception as worse:  # noqa: BLE001 - the exception may be a probe's own
        said = "<no text: %s>" % type(worse).__name__
    more = [getattr(error, name, None) for name in ("headline", "message")]
    return said or ": ".join(part for part in more if part and isinstance(part, str))


def failed_assert(path, line):
    """Return the assert statement on a line of a file, parsed; None when there is none."""
    try:
        with open(path, encoding="utf-8") as file:
            nodes = list(ast.walk(ast.parse(file.read())))
    except (OSError, ValueError, SyntaxError):
        return None
    for node in nodes:
        if isinstance(node, ast.Assert):
            lines = [part.lineno for part in ast.walk(node) if hasattr(part, "lineno")]
            if min(lines) <= line <= max(lines):
                return node
    return None


def expression(path, node):
    """Return the source of a failed assert's expression, in one line."""
    if hasattr(ast, "get_source_segment"):
        with open(path, encoding="utf-8") as file:
            source = ast.get_source_segment(file.read(), node.test)
    else:  # before 3.8 nobody knows where an expression ends
        source = linecache.getline(path, node.lineno).strip()[len("assert ") :]
    return " ".join((source or "").split())


def values(node, frame):
    """Return the values of an expression's names where it failed, as ``; NAME is VALUE``.

    Names only: to look at an attribute of a client's object may ask the service.
    """
    found = []
    parts = [part for part in ast.walk(node.test) if isinstance(part, ast.Name)]
    for part in sorted(parts, key=lambda part: (part.lineno, part.col_offset)):
        name = part.id
        if name in [known for known, _ in found]:
            continue
        value = frame.f_locals.get(name, frame.f_globals.get(name, part))
        if value is not part and not callable(value):
            found.append((name, value))
    return "".join("; %s is %s" % (name, short(value)) for name, value in found)


def where(error, path):
    """Return ``(FILE:LINE)`` of the probe's line that led to an exception, and where it was raised.

    Returns:
        It, or an empty text when no line of the probe did, and the text of a bare assert there.
    """
    frames = list(traceback.walk_tb(error.__traceback__))
    own = [(frame, line) for frame, line in frames if frame.f_code.co_filename == path]
    if not own:
        return "", ""
    frame, line = own[-1]
    place = "%s:%d" % (Path(path).name, line)
    if frame is not frames[-1][0]:
        last, number = frames[-1]
        parts = Path(last.f_code.co_filename).parts[-3:]
        place += ", raised at %s:%d" % ("/".join(parts), number)
    node = failed_assert(path, line) if isinstance(error, AssertionError) else None
    bare = node is not None and frame is frames[-1][0] and not str(error)
    told = "assert %s%s" % (expression(path, node), values(node, frame)) if bare else ""
    return " (%s)" % place, told


def causes(error):
    """Return the exceptions that led to one, nearest first: the last one may hide the first."""
    found, seen = [], {id(error)}
    while len(found) < MOST_CAUSES:
        hidden = None if error.__suppress_context__ else error.__context__
        error = error.__cause__ or hidden
        if error is None or id(error) in seen:
            break
        seen.add(id(error))
        found.append(error)
    return found


def named(error):
    """Return what an exception says, with its type where it is no assertion."""
    said, kind = text_of(error), type(error).__name__
    if isinstance(error, AssertionError) and said:
        return said
    return "%s: %s" % (kind, said) if said else kind


def words(error, path=""):
    """Return what an exception says, where in the probe it came up, and what led to it.

    Args:
        error: the exception.
        path: the probe's file.
    """
    place, told = where(error, path)
    told = (told or named(error)) + place
    for cause in causes(error):
        if not text_of(cause) or text_of(cause) not in told:
            told += "; after %s%s" % (named(cause), where(cause, path)[0])
    return told


def is_promise(rows):
    """Tell whether rows are ``{table: [columns, ...]}``, as a check may return."""
    return isinstance(rows, dict) and all(
        isinstance(one, (list, tuple)) and all(isinstance(columns, dict) for columns in one)
        for one in rows.values()
    )


def tell(error, path=""):
    """Return why something failed, whatever was raised, and show the whole of it in the log."""
    try:
        traceback.print_exception(type(error), error, error.__traceback__)
        return words(error, path)
    except BaseException as worse:  # noqa: BLE001 - the exception may be a probe's own
        return "%s, of which nothing can be told: %s" % (type(error).__name__, type(worse).__name__)


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


def apply_listing(pathspec):
    """List a run and tell what came of it."""
    try:
        found = inventory(pathspec)
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


def inventory(pathspec):
    """List the run: its tags, and each task's artifacts and metadata, by step and task."""
    from metaflow import Run, namespace  # noqa: PLC0415 - found in the client's environment only

    namespace(None)
    run = Run(pathspec)
    steps = {}
    for step in run:
        steps[step.id] = {
            task.id: {
                "artifacts": sorted(artifact.id for artifact in task),
                "metadata": sorted("%s=%s" % (item.name, item.value) for item in task.metadata),
            }
            for task in step
        }
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


def read_run(request, clock):
    """Answer one request."""
    checks = {}
    for check in request["checks"]:
        made, failed = timed(lambda check=check: apply_check(request, check), clock)
        checks[check["name"]] = failed or made
    answer = {"inventory": None, "listing": outcome("pass")}
    if request["listed"]:
        pathspec = "%s/%s" % (request["flow"], request["run_id"])
        listed, failed = timed(lambda: apply_listing(pathspec), clock)
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
