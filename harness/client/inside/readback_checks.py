"""The checks that belong to no probe, what a check may ask for, and what it may promise.

A part of the program ``readback.py``.
"""

import inspect


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
        "rows": lambda: check["rows"],
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


def is_promise(rows):
    """Tell whether rows are ``{table: [columns, ...]}``, as a check may return."""
    return isinstance(rows, dict) and all(
        isinstance(one, (list, tuple)) and all(isinstance(columns, dict) for columns in one)
        for one in rows.values()
    )
