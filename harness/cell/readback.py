"""Reads runs back with the client's own API. Run by the client's own Python, 3.6 or newer.

``python readback.py REQUEST ANSWER`` reads the request, a JSON list of ``{"flow_file", "flow",
"run_id", "ends", "checks"}``, where ``ends`` is how the run must have ended, and writes the answer,
a JSON list in the same order of ``{"checks": {name: {"status": "pass" | "fail", "reason", "rows":
{table: [columns, …]}}}, "inventory", "error"}``.
The inventory is what the API lists of the run; it is None, and the error says why, when the run
could not be listed. It imports nothing of the harness, and only names that every Metaflow since
2.0.0 has.
"""

import ast
import importlib.util
import json
import linecache
import reprlib
import sys
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


# The checks that belong to no probe, by how the run ends and by name.
CHECKS = {
    "completed": {"run": check_run, "stored": check_stored},
    "failed": {"run": check_failed_run, "stored": check_stored},
}


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


def apply_check(check, pathspec, path):
    """Call one check and tell what came of it; the path is that of the probe's file."""
    from metaflow import Run, namespace  # noqa: PLC0415 - found in the client's environment only

    try:
        # A fresh object and namespace each time: what one check left must not touch the next.
        namespace(None)
        rows = check(Run(pathspec))
        rows = {} if rows is None else rows
        assert is_promise(rows), "returned %.200r, not {table: [columns, ...]}" % (rows,)
        json.dumps(rows)  # what cannot be written is this check's failure alone
    except Exception as error:  # noqa: BLE001 - a check may fail in any way; the reason is kept
        traceback.print_exc()
        return {"status": "fail", "reason": words(error, path), "rows": {}}
    return {"status": "pass", "reason": "", "rows": rows}


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


def read_run(request, probes):
    """Answer one request."""
    pathspec = "%s/%s" % (request["flow"], request["run_id"])
    checks, common = {}, CHECKS[request["ends"]]
    path = request["flow_file"]
    for name in request["checks"]:
        if name not in common and path not in probes:
            probes[path] = load_probe(path)
        check = common[name] if name in common else getattr(probes[path], "check_" + name)
        checks[name] = apply_check(check, pathspec, path)
    try:
        return {"checks": checks, "inventory": inventory(pathspec), "error": ""}
    except Exception as error:  # noqa: BLE001 - whatever it was, the run could not be listed
        traceback.print_exc()
        return {"checks": checks, "inventory": None, "error": words(error)}


def main(request_file, answer_file):
    """Answer all requests."""
    with open(request_file, encoding="utf-8") as file:
        requests = json.load(file)
    probes = {}
    answers = [read_run(request, probes) for request in requests]
    with open(answer_file, "w", encoding="utf-8") as file:
        json.dump(answers, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
