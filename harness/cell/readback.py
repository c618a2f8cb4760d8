"""Reads runs back with the client's own API. Run by the client's own Python, 3.6 or newer.

``python readback.py REQUEST ANSWER`` reads the request, a JSON list of ``{"flow_file", "flow",
"run_id", "ends", "checks"}``, where ``ends`` is how the run must have ended, and writes the answer,
a JSON list in the same order of ``{"checks": {name: {"status": "pass" | "fail", "reason", "rows":
{table: [columns, …]}}}, "inventory", "error"}``.
The inventory is what the API lists of the run; it is None, and the error says why, when the run
could not be listed. It imports nothing of the harness, and only names that every Metaflow since
2.0.0 has.
"""

import importlib.util
import json
import sys
import traceback


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


def words(error):
    """Return what an exception says, with its type where it is no plain assertion."""
    return str(error) if isinstance(error, AssertionError) and str(error) else repr(error)


def is_promise(rows):
    """Tell whether rows are ``{table: [columns, ...]}``, as a check may return."""
    return isinstance(rows, dict) and all(
        isinstance(one, (list, tuple)) and all(isinstance(columns, dict) for columns in one)
        for one in rows.values()
    )


def apply_check(check, pathspec):
    """Call one check and tell what came of it."""
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
        return {"status": "fail", "reason": words(error), "rows": {}}
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
    for name in request["checks"]:
        if name in common:
            checks[name] = apply_check(common[name], pathspec)
            continue
        path = request["flow_file"]
        if path not in probes:
            probes[path] = load_probe(path)
        checks[name] = apply_check(getattr(probes[path], "check_" + name), pathspec)
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
