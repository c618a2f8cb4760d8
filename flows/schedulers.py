"""What schedulers call, without any of them: ``init``, ``step``, ``dump``, and how they end.

A scheduler makes the run and each task by a command of its own, and goes by how the commands end.
"""

from metaflow import FlowSpec, step

ACTIONS = [
    {"verb": "run"},
    {"verb": "command", "name": "dump", "args": ["dump", "{run.start}"]},
    {
        "verb": "command",
        "name": "dump_missing",
        "about": "the dump of a task that is not there ends with an error",
        "args": ["dump", "{run_id}/start/987654321"],
        "exit": "non-zero",
    },
    {"verb": "command", "name": "show", "args": ["show"]},
    {"verb": "command", "name": "logs", "args": ["logs", "{run.start}"]},
    {
        "verb": "command",
        "name": "init",
        "about": "a run is made with ids of the scheduler's own",
        "client": ">=2.1.0",
        "service": ">=2.0.2",
        "args": ["init", "--run-id", "s-{unique}", "--task-id", "params"],
        "run_id": "s-{unique}",
    },
    {
        "verb": "command",
        "name": "step_start",
        "about": "the first task is run by itself, on what init made",
        "args": [
            "step",
            "start",
            "--run-id",
            "{init.run_id}",
            "--task-id",
            "one",
            "--input-paths",
            "{init.run_id}/_parameters/params",
        ],
        "run_id": "{init.run_id}",
    },
    {
        "verb": "command",
        "name": "step_end",
        "about": "the next task is run by itself, on what the first one made",
        "args": [
            "step",
            "end",
            "--run-id",
            "{step_start.run_id}",
            "--task-id",
            "two",
            "--input-paths",
            "{step_start.run_id}/start/one",
        ],
        "run_id": "{step_start.run_id}",
    },
]

CHECKS = {
    "dumped": {"about": "the dump of a task shows what it stored", "action": "dump"},
    "logged": {"about": "the logs of a task show what it printed", "action": "logs"},
    "scheduled": {
        "about": "the run made by commands is read back finished, with what was handed on",
        "action": "step_end",
    },
}

LINE = "the first task prints this line"


class SchedulersFlow(FlowSpec):
    """Hand a value from one task to the next."""

    @step
    def start(self):
        self.shape = "octagon"
        print(LINE)
        self.next(self.end)

    @step
    def end(self):
        self.seen = self.shape + " seen"


def check_dumped(output):
    """Look for the value in what was printed."""
    assert "octagon" in output.stdout, "printed was %r" % output.stdout


def check_logged(output):
    """Look for the line in what was printed."""
    assert LINE in output.stdout, "printed was %r" % output.stdout


def check_scheduled(run):
    """Read the run that nobody ran as a whole."""
    assert run.successful, "%s is not successful" % run.pathspec
    assert run.finished, "%s is not finished" % run.pathspec
    assert run["end"].task.id == "two", "the last task is %s" % run["end"].task
    assert run.data.seen == "octagon seen", "seen is %r" % (run.data.seen,)
    return {"steps_v3": [{"step_name": name} for name in ("_parameters", "start", "end")]}


if __name__ == "__main__":
    SchedulersFlow()
