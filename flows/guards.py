"""What keeps a task in bounds, or its failure from the run: environment, catch and timeout."""

import os
import time

from metaflow import FlowSpec, catch, environment, step, timeout

CHECKS = {
    "environment": {"about": "variables of the decorator are set in the task, and not in others"},
    "caught": {"about": "a caught error is an artifact of its task, and the run goes on"},
    "caught_task": {"about": "the task of a caught error is finished and has what it stored"},
    "timed_out": {"about": "a task that takes too long is ended, and its caught error says so"},
    "run_on": {"about": "steps after the caught ones see what came of them"},
}

SHOWS = {"log": ["end", "all of it: True True"], "artifact": ["before", "kept"]}

WORD = "hexagon; $HOME 'ü'"


class GuardsFlow(FlowSpec):
    """Fail twice, each time caught."""

    @environment(vars={"PROBE_WORD": WORD})
    @step
    def start(self):
        self.word = os.environ.get("PROBE_WORD")
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
