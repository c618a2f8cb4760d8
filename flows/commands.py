"""What is done with a flow beside running it: by command, by a scheduler, and from Python.

Dumps, logs, and tags of a run that is done. The namespace is set at the top of the file, for the
steps too.
A scheduler makes the run and each task by a command of its own, and goes by how the commands end;
here without any scheduler. ``Runner`` runs a flow from Python, and ``spin`` one of its steps again.

The run itself ends with an artifact that cannot be pickled: its last task, and so the run, has
failed for everybody. What is done with it then is done with a failed run.

By hand: ``PROBE_LOCK=1 python flows/commands.py run`` fails, and without the variable it does not.
"""

import os
import sys
import threading

from metaflow import FlowSpec, Run, current, get_namespace, namespace, step

# From 2.19.0 on steps get '' instead: https://github.com/Netflix/metaflow/issues/2734
namespace(None)

TAGS = ["probe:commands"]

ACTIONS = [
    {"verb": "run", "env": {"PROBE_LOCK": "1"}, "ends": "failed"},
    {"verb": "command", "name": "dump", "args": ["dump", "{run.start}"]},
    {
        "verb": "command",
        "name": "dump_missing",
        "about": "the dump of a task that is not there ends with an error",
        "args": ["dump", "{run_id}/start/987654321"],
        "exit": "non-zero",
    },
    {"verb": "command", "name": "logs", "args": ["logs", "{run.start}"]},
    {"verb": "command", "name": "package_list", "args": ["package", "list"]},
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
    {
        "verb": "command",
        "name": "tag_add",
        "about": "a tag is added by command",
        "client": ">=2.7.0",
        # Of the release, not of what it reports: v2.2.5 can change tags and says it is 2.2.3.
        "release": ">=2.2.5",
        "args": ["tag", "add", "--run-id", "{run_id}", "probe:added"],
        "run_id": "{run_id}",
    },
    # 2.7.16 lacks the module of its script: https://github.com/Netflix/metaflow/pull/1209
    # Before 2.5.1 it does not start with click 8: https://github.com/Netflix/metaflow/issues/537
    {"verb": "command", "name": "status", "program": "metaflow", "args": ["status"]},
    {
        "verb": "command",
        "name": "configure_show",
        "program": "metaflow",
        "args": ["configure", "show"],
    },
    {
        "verb": "command",
        "name": "by_runner",
        "about": "a program runs the flow and is told how it ended",
        "client": ">=2.12.0",
        "args": ["by-runner"],
    },
    {
        "verb": "command",
        "name": "spin",
        "about": "a step is run again on what the run handed it",
        "client": ">=2.19.0",
        # The client says so: it looks for the step's inputs by their metadata.
        "service": ">=2.5.0",
        # Of a task that stored what it made: spin looks for the graph among that.
        "args": ["spin", "{flow}/{step_end.run_id}/end/two"],
    },
]

CHECKS = {
    "kept": {"about": "what the task before the one that cannot be stored stored is read back"},
    "failed_task": {"about": "the task that could not be stored is read back as not successful"},
    # From 2.2.5 to 2.12.26 it is: https://github.com/Netflix/metaflow/pull/2087
    "recorded": {"about": "no attempt of the task that could not be stored is recorded as good"},
    "failed_log": {"about": "the log of the task tells what could not be pickled"},
    "of_file": {"about": "a namespace set at the top of the file holds within the steps"},
    "found_in_step": {"about": "a step finds its own run in the namespace of the file"},
    "dumped": {"about": "the dump of a task shows what it stored", "action": "dump"},
    "logged": {"about": "the logs of a task show what it printed", "action": "logs"},
    "packaged": {
        "about": "this file and Metaflow's own are in the code package",
        "action": "package_list",
    },
    "scheduled": {
        "about": "the run made by commands is read back finished, with what was handed on",
        "action": "step_end",
    },
    "tag_added": {"about": "the tag added by command is on the run", "action": "tag_add"},
    "status_told": {"about": "the status tells where metadata is", "action": "status"},
    "runner_told": {
        "about": "the program is told how the run ended, and its output",
        "client": ">=2.12.0",
        "action": "by_runner",
    },
    "runner_made": {
        "about": "the run that the program made is read back, with its tag",
        "client": ">=2.12.0",
        "action": "by_runner",
    },
    "spun": {
        "about": "the step saw what the run had handed on",
        "client": ">=2.19.0",
        "action": "spin",
    },
    "unchanged": {
        "about": "the run whose step was run again is as it was",
        "client": ">=2.19.0",
        "action": "spin",
    },
}

SHOWS = {"steps": {"start": 1, "end": 1}}

LINE = "the first task prints this line"


def attempt(operation):
    """Return what an operation returned, or its error in words: the run must go on."""
    try:
        return operation()
    except Exception as error:
        return "%s: %s" % (type(error).__name__, error)


class CommandsFlow(FlowSpec):
    """Hand a value from one task to the next; keep a lock, which nobody can pickle, if asked to."""

    @step
    def start(self):
        self.shape = "octagon"
        self.namespace = repr(get_namespace())
        own = "%s/%s" % (current.flow_name, current.run_id)
        self.own_run = attempt(lambda: Run(own).pathspec)
        print(LINE)
        self.next(self.end)

    @step
    def end(self):
        self.seen = self.shape + " seen"
        print("end saw: " + self.seen)
        if os.environ.get("PROBE_LOCK"):
            self.unpicklable = threading.Lock()


def by_runner():
    """Run this file's flow from Python, and print what the program was told."""
    from metaflow import Runner  # noqa: PLC0415 - absent before 2.12.0

    with Runner(__file__, show_output=False, pylint=False).run(tags=["probe:by_runner"]) as running:
        print("status: %s" % running.status)
        print("run: %s" % running.run.pathspec)
        print("output: %r" % running.stdout)


def told(output, what):
    """Return what the program printed of one thing."""
    return output.stdout.split(what + ": ")[1].splitlines()[0]


def check_kept(run):
    """Read the artifact of the task that ended well."""
    found = run["start"].task.data.shape
    assert found == "octagon", "the artifact is %r" % (found,)


def check_failed_task(run):
    """Look at the task as a user would."""
    task = run["end"].task
    assert not task.successful, "the failed task is successful"
    assert not task.finished, "the failed task is finished"
    return {"tasks_v3": [{"step_name": "end"}]}


def check_recorded(run):
    """Look at what the Metaflow UI goes by."""
    found = [item.value for item in run["end"].task.metadata if item.name == "attempt_ok"]
    assert "True" not in found, "attempt_ok is recorded as %r" % (found,)


def check_failed_log(run):
    """Read the error in the failed task's log."""
    stderr = run["end"].task.stderr
    assert "pickle" in stderr.lower(), "stderr is %r" % (stderr,)


def check_of_file(run):
    """Read which namespace the step had."""
    found = run["start"].task.data.namespace
    assert found == "None", "the namespace is %s" % found


def check_found_in_step(run):
    """Read what the step found."""
    found = run["start"].task.data.own_run
    assert found == run.pathspec, "the step found %s" % found


def check_dumped(output):
    """Look for the value in what was printed."""
    assert "octagon" in output.stdout, "printed was %r" % output.stdout


def check_logged(output):
    """Look for the line in what was printed."""
    assert LINE in output.stdout, "printed was %r" % output.stdout


def check_packaged(output):
    """Look for two files in what was printed."""
    printed = output.stdout + output.stderr
    for name in ("commands.py", "metaflow/client/core.py"):
        found = any(line.endswith(name) for line in printed.splitlines())
        assert found, "no %s is in %.300r" % (name, printed)


def check_scheduled(run):
    """Read the run that nobody ran as a whole."""
    assert run.successful, "%s is not successful" % run.pathspec
    assert run.finished, "%s is not finished" % run.pathspec
    assert run["end"].task.id == "two", "the last task is %s" % run["end"].task
    assert run.data.seen == "octagon seen", "seen is %r" % (run.data.seen,)
    return {"steps_v3": [{"step_name": name} for name in ("_parameters", "start", "end")]}


def check_tag_added(run):
    """Read the run's tags."""
    for tag in ("probe:added", *TAGS):
        assert tag in run.tags, "%r is not among %r" % (tag, sorted(run.tags))
        assert tag in run.user_tags, "%r is not among %r" % (tag, sorted(run.user_tags))
    return {"runs_v3": [{"tags": ["probe:added", *TAGS]}]}


def check_status_told(output):
    """Look for it in what was printed; the name of the product is printed by every command."""
    printed = output.stdout + output.stderr
    told = ("Using Metadata provider at", "Working tree found at")
    assert any(words in printed for words in told), "printed was %r" % printed


def check_runner_told(output):
    """Read what the program was told."""
    assert told(output, "status") == "successful", "printed was %r" % output.stdout
    assert "end saw: octagon seen" in told(output, "output"), "printed was %r" % output.stdout


def check_runner_made(output):
    """Fetch the run that the program made."""
    made = Run(told(output, "run"))
    assert made.successful, "it is not successful"
    assert made.data.seen == "octagon seen", "seen is %r" % (made.data.seen,)
    assert "probe:by_runner" in made.tags, "its tags are %r" % (sorted(made.tags),)


def check_spun(output):
    """Look for what the step printed."""
    printed = output.stdout + output.stderr
    assert "end saw: octagon seen" in printed, "printed was %r" % printed


def check_unchanged(runs):
    """Count the tasks of the run."""
    tasks = [task.pathspec for one in runs["step_end"] for task in one]
    assert len(tasks) == 2, "its tasks are %r" % (tasks,)


if __name__ == "__main__":
    if "by-runner" in sys.argv:
        by_runner()
    else:
        CommandsFlow()
