"""An artifact that cannot be pickled: the task, and its run, have failed for everybody."""

import threading

from metaflow import FlowSpec, step

ENDS = "failed"

CHECKS = {
    "kept": {"about": "what the task before it stored is read back"},
    "failed_task": {"about": "the task that could not be stored is read back as not successful"},
    "recorded": {"about": "no attempt of the task is recorded as good"},
    "logs": {"about": "the log of the task tells what could not be pickled"},
}


class UnpicklableFlow(FlowSpec):
    """Keep a lock in the second task, which nobody can pickle."""

    @step
    def start(self):
        self.shape = "square"
        self.next(self.end)

    @step
    def end(self):
        self.unpicklable = threading.Lock()


def check_kept(run):
    """Read the artifact of the task that ended well."""
    found = run["start"].task.data.shape
    assert found == "square", "the artifact is %r" % (found,)


def check_failed_task(run):
    """Look at the task as a user would."""
    task = run["end"].task
    assert not task.successful, "the failed task is successful"
    assert not task.finished, "the failed task is finished"
    return {"tasks_v3": [{"step_name": "end"}]}


def check_recorded(run):
    """Look at what the Metaflow UI goes by."""
    # From 2.2.5 to 2.12.26 it is True: https://github.com/Netflix/metaflow/pull/2087
    found = [item.value for item in run["end"].task.metadata if item.name == "attempt_ok"]
    assert "True" not in found, "attempt_ok is recorded as %r" % (found,)


def check_logs(run):
    """Read the error in the failed task's log."""
    stderr = run["end"].task.stderr
    assert "pickle" in stderr.lower(), "stderr is %r" % (stderr,)


if __name__ == "__main__":
    UnpicklableFlow()
