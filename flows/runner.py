"""Flows that are run from Python, and single steps that are run again: ``Runner`` and ``spin``."""

import sys

from metaflow import FlowSpec, Parameter, step

ACTIONS = [
    {"verb": "run", "parameters": {"shape": "hexagon"}},
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
        "args": ["spin", "{flow}/{run.end}"],
    },
]

CHECKS = {
    "status": {
        "about": "the program is told how the run ended, and its output",
        "client": ">=2.12.0",
        "action": "by_runner",
    },
    "made": {
        "about": "the run that the program made is read back, with what it was given",
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


class RunnerFlow(FlowSpec):
    """Hand on what was given."""

    shape = Parameter("shape", default="circle")

    @step
    def start(self):
        self.handed = self.shape + " handed on"
        self.next(self.end)

    @step
    def end(self):
        print("end saw: " + self.handed)


def by_runner():
    """Run this file's flow from Python, and print what the program was told."""
    from metaflow import Runner  # noqa: PLC0415 - absent before 2.12.0

    with Runner(__file__, show_output=False, pylint=False).run(
        shape="octagon", tags=["probe:by_runner"]
    ) as running:
        print("status: %s" % running.status)
        print("run: %s" % running.run.pathspec)
        print("output: %r" % running.stdout)


def told(output, what):
    """Return what the program printed of one thing."""
    return output.stdout.split(what + ": ")[1].splitlines()[0]


def check_status(output):
    """Read what the program was told."""
    assert told(output, "status") == "successful", "printed was %r" % output.stdout
    assert "end saw: octagon handed on" in told(output, "output"), output.stdout


def check_made(run, output):
    """Fetch the run that the program made."""
    from metaflow import Run  # noqa: PLC0415

    made = Run(told(output, "run"))
    assert made.id != run.id
    assert made.successful, "it is not successful"
    assert made.data.handed == "octagon handed on", "handed on was %r" % (made.data.handed,)
    assert "probe:by_runner" in made.tags, "its tags are %r" % (sorted(made.tags),)


def check_spun(output):
    """Look for what the step printed."""
    printed = output.stdout + output.stderr
    assert "end saw: hexagon handed on" in printed, "printed was %r" % printed


def check_unchanged(runs):
    """Count the tasks of the run."""
    tasks = [task.pathspec for one in runs["run"] for task in one]
    assert len(tasks) == 2, "its tasks are %r" % (tasks,)


if __name__ == "__main__":
    if "by-runner" in sys.argv:
        by_runner()
    else:
        RunnerFlow()
