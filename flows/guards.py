"""What keeps a task in bounds, or its failure from the run: retry, catch, timeout, environment."""

import os
import sys
import time

from metaflow import FlowSpec, Task, catch, current, environment, retry, step, timeout

CHECKS = {
    "retried": {"about": "what the last attempt stored is read back, and not the failed one's"},
    "left_over": {"about": "what only the failed attempt stored is not listed with the task"},
    # Services before 2.2.0 find it: https://github.com/Netflix/metaflow-service/pull/256
    "left_over_by_name": {"about": "what only the failed attempt stored is not found by its name"},
    "retried_task": {"about": "the task that failed first and then ended well is successful"},
    "retried_logs": {"about": "the log of the last attempt is read back, both outputs"},
    "attempts": {
        "about": "each attempt is read back by its number, with its own data and log",
        "client": ">=2.4.1",
        "service": ">=2.0.6",
    },
    "environment": {"about": "variables of the decorator are set in the task, and not in others"},
    "caught": {"about": "a caught error is an artifact of its task, and the run goes on"},
    "caught_task": {"about": "the task of a caught error is finished and has what it stored"},
    "timed_out": {"about": "a task that takes too long is ended, and its caught error says so"},
    "run_on": {"about": "steps after the caught ones see what came of them"},
}

SHOWS = {"log": ["end", "all of it: True True"], "artifact": ["before", "kept"]}

LINE = "this is attempt %d"

WORD = "hexagon; $HOME 'ü'"


class GuardsFlow(FlowSpec):
    """Fail three times: once it is tried again, and twice caught."""

    # Unasked a retry waits two minutes.
    @retry(times=1, minutes_between_retries=0)
    @environment(vars={"PROBE_WORD": WORD})
    @step
    def start(self):
        self.word = os.environ.get("PROBE_WORD")
        self.attempt = current.retry_count
        print(LINE % self.attempt)
        sys.stderr.write(LINE % self.attempt + " too\n")
        if not self.attempt:
            self.left_over = "of the failed attempt"
            raise ValueError("the first attempt fails on purpose")
        self.next(self.broken)

    @catch(var="caught")
    @step
    def broken(self):
        self.word_after = os.environ.get("PROBE_WORD")
        self.before = "kept"
        if self.before:
            raise ValueError("broken on purpose")
        # Where an error is caught, the way on is taken from the graph, which is made of this line.
        self.next(self.slow)

    @catch(var="late")
    @timeout(seconds=2)
    @step
    def slow(self):
        time.sleep(60)
        self.next(self.end)

    @step
    def end(self):
        print("all of it: %s %s" % (bool(self.caught), bool(self.late)))


def check_retried(run):
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


def check_retried_task(run):
    """Look at the task as a user would."""
    task = run["start"].task
    assert task.successful, "the task is not successful"
    assert task.finished, "the task is not finished"
    assert task.exception is None, "the exception is %r" % (task.exception,)


def check_retried_logs(run):
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


def check_environment(run):
    """Read what two tasks saw."""
    found = run["start"].task.data.word
    assert found == WORD, "the variable is %r" % (found,)
    after = run["broken"].task.data.word_after
    assert after is None, "the next task has the variable, too: %r" % (after,)


def check_caught(run):
    """Read the error as the flow has it."""
    text = str(run.data.caught)
    assert "broken on purpose" in text, "it is %r" % (text,)
    return {"artifact_v3": [{"step_name": "broken", "name": "caught"}]}


def check_caught_task(run):
    """Look at the task whose error was caught."""
    task = run["broken"].task
    assert task.finished, "it is not finished"
    assert task.data.before == "kept", "before is %r" % (task.data.before,)


def check_timed_out(run):
    """Read the error of the task that took too long."""
    text = str(run.data.late)
    assert "imeout" in text or "timed out" in text, "it is %r" % (text,)
    assert run["slow"].task.finished, "it is not finished"


def check_run_on(run):
    """Read what the last task printed."""
    found = run["end"].task.stdout
    assert "all of it: True True" in found, "it printed %r" % (found,)


if __name__ == "__main__":
    GuardsFlow()
