"""An artifact that cannot be pickled: the task, and its run, have failed for everybody."""

import threading

from metaflow import FlowSpec, step

ENDS = "failed"

CHECKS = {
    "failed_task": {"about": "the task that could not be stored is read back as not successful"},
    "recorded": {"about": "no attempt of the task is recorded as good"},
    "logs": {"about": "the log of the task tells what could not be pickled"},
}


class UnpicklableFlow(FlowSpec):
    """Keep a lock, which nobody can pickle."""

    @step
    def start(self):
        self.unpicklable = threading.Lock()
        self.next(self.end)

    @step
    def end(self):
        pass


def check_failed_task(run):
    """Look at the task as a user would."""
    task = run["start"].task
    assert not task.successful, "the failed task is successful"
    assert not task.finished, "the failed task is finished"
    return {"tasks_v3": [{"step_name": "start"}]}


def check_recorded(run):
    """Look at what the Metaflow UI goes by."""
    # From 2.2.5 to 2.12.26 it is True: https://github.com/Netflix/metaflow/pull/2087
    found = [item.value for item in run["start"].task.metadata if item.name == "attempt_ok"]
    assert "True" not in found, "attempt_ok is recorded as %r" % (found,)


def check_logs(run):
    """Read the error in the failed task's log."""
    stderr = run["start"].task.stderr
    assert "pickle" in stderr.lower(), "stderr is %r" % (stderr,)


if __name__ == "__main__":
    UnpicklableFlow()
