"""A task that is tried twice: its attempts, with their data and logs, and its times."""

import sys
import time
from datetime import datetime, timezone

from metaflow import FlowSpec, Task, current, retry, step

CHECKS = {
    "data": {"about": "what the last attempt stored is read back, and not the failed one's"},
    "left_over": {"about": "what only the failed attempt stored is not listed with the task"},
    # Services before 2.2.0 find it: https://github.com/Netflix/metaflow-service/pull/256
    "left_over_by_name": {"about": "what only the failed attempt stored is not found by its name"},
    "successful": {"about": "the task that failed first and then ended well is successful"},
    "logs": {"about": "the log of the last attempt is read back, both outputs"},
    "attempts": {
        "about": "each attempt is read back by its number, with its own data and log",
        "client": ">=2.4.1",
        "service": ">=2.0.6",
    },
    "times": {"about": "a task is said to be made before it ran, and after its run"},
}

LINE = "this is attempt %d"


class RetryFlow(FlowSpec):
    """Fail once."""

    # Unasked a retry waits two minutes.
    @retry(times=1, minutes_between_retries=0)
    @step
    def start(self):
        self.attempt = current.retry_count
        print(LINE % self.attempt)
        sys.stderr.write(LINE % self.attempt + " too\n")
        if not self.attempt:
            self.left_over = "of the failed attempt"
            raise ValueError("the first attempt fails on purpose")
        self.next(self.end)

    @step
    def end(self):
        print("now: %.3f" % time.time())


def seconds(created):
    """Return a time as seconds since 1970: releases tell it as text, in UTC, or as a datetime.

    What some of them write behind the seconds of a text is ``.%fZ``, as it stands here.
    """
    if isinstance(created, str):
        text = created[: len("2026-11-25T21:16:06")]
        created = datetime.strptime(text, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc)
    return created.timestamp()


def check_data(run):
    """Read what the task stored."""
    attempt = run["start"].task.data.attempt
    assert attempt == 1, "the data is of attempt %r" % (attempt,)


def check_left_over(run):
    """Look for the artifact that the last attempt did not store in the list."""
    names = sorted(artifact.id for artifact in run["start"].task)
    assert "left_over" not in names, "artifacts are %r" % (names,)


def check_left_over_by_name(run):
    """Ask for the artifact that the last attempt did not store."""
    try:
        found = run["start"].task["left_over"].data
    except KeyError:
        return
    raise AssertionError("the task has what the failed attempt stored: %r" % (found,))


def check_successful(run):
    """Look at the task as a user would."""
    task = run["start"].task
    assert task.successful, "the task is not successful"
    assert task.finished, "the task is not finished"
    assert task.exception is None, "the exception is %r" % (task.exception,)


def check_logs(run):
    """Read both outputs of the last attempt."""
    task = run["start"].task
    assert LINE % 1 in task.stdout.splitlines(), "stdout is %r" % (task.stdout,)
    assert LINE % 1 + " too" in task.stderr.splitlines(), "stderr is %r" % (task.stderr,)


def check_attempts(run):
    """Read each attempt."""
    pathspec = run["start"].task.pathspec
    for number in (0, 1):
        task = Task(pathspec, attempt=number)
        assert task.current_attempt == number
        assert task.data.attempt == number, "its data is of %r" % (task.data.attempt,)
        assert LINE % number in task.stdout.splitlines(), "stdout is %r" % (task.stdout,)


def check_times(run, output):
    """Compare with the time that the last task printed when it ran."""
    printed = float(output.stdout.split("now: ")[1].split()[0])
    made = [seconds(one.created_at) for one in (run, run["start"].task)]
    assert made[0] <= made[1] <= printed, "made %r s before it ran" % [
        printed - one for one in made
    ]
    assert printed - made[0] < 600, "the run was made %d s before it ran" % (printed - made[0])


if __name__ == "__main__":
    RetryFlow()
