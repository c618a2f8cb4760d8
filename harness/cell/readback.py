"""Reads a run back with the client that wrote it. Run by the client's own Python, 3.6 or newer.

``python readback.py REQUEST ANSWER`` reads the request, a JSON file with ``flow_file``, ``flow``,
``run_id`` and ``checks``, and writes the answer, a JSON file with one entry per check:
``{"status": "pass" | "fail", "reason": str, "rows": {table: [columns, …]}}``. It imports nothing
of the harness, and only names that every Metaflow since 2.0.0 has.
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


def apply_check(check, pathspec):
    """Call one check and tell what came of it."""
    from metaflow import Run  # noqa: PLC0415 - found in the client's environment only

    try:
        # A fresh object each time: what one check cached must not help the next.
        rows = check(Run(pathspec)) or {}
    except Exception as error:  # noqa: BLE001 - a check may fail in any way; the reason is kept
        traceback.print_exc()
        reason = str(error) if isinstance(error, AssertionError) and str(error) else repr(error)
        return {"status": "fail", "reason": reason, "rows": {}}
    return {"status": "pass", "reason": "", "rows": rows}


def main(request_file, answer_file):
    """Answer the request."""
    from metaflow import namespace  # noqa: PLC0415 - found in the client's environment only

    with open(request_file, encoding="utf-8") as file:
        request = json.load(file)
    namespace(None)
    probe = load_probe(request["flow_file"])
    pathspec = "%s/%s" % (request["flow"], request["run_id"])
    answer = {}
    for name in request["checks"]:
        check = check_run if name == "run" else getattr(probe, "check_" + name)
        answer[name] = apply_check(check, pathspec)
    with open(answer_file, "w", encoding="utf-8") as file:
        json.dump(answer, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
