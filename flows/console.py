"""The console script's subcommands answer."""

from metaflow import FlowSpec, step

ACTIONS = [
    {"verb": "run"},
    # 2.7.16 lacks the module of its script: https://github.com/Netflix/metaflow/pull/1209
    {"verb": "command", "name": "status", "program": "metaflow", "args": ["status"]},
    {
        "verb": "command",
        "name": "configure_show",
        "program": "metaflow",
        "args": ["configure", "show"],
    },
    # Before 2.5.1 none of them starts with click 8: https://github.com/Netflix/metaflow/issues/537
    {"verb": "command", "name": "help", "program": "metaflow", "args": ["help"]},
    {"verb": "command", "name": "check", "args": ["check"]},
    {"verb": "command", "name": "show", "args": ["show"]},
]

CHECKS = {
    "status_told": {"about": "the status names the release of the client", "action": "status"},
    "steps_shown": {"about": "the flow's steps are shown with their words", "action": "show"},
}


class ConsoleFlow(FlowSpec):
    """Do next to nothing."""

    @step
    def start(self):
        """Begin with a hexagon."""
        self.next(self.end)

    @step
    def end(self):
        """End with an octagon."""


def check_status_told(output):
    """Look for the release in what was printed."""
    assert "metaflow" in (output.stdout + output.stderr).lower(), repr(output.stdout)


def check_steps_shown(output):
    """Look for each step's words."""
    for words in ("Begin with a hexagon", "End with an octagon"):
        assert words in output.stdout + output.stderr, "printed was %r" % output.stdout


if __name__ == "__main__":
    ConsoleFlow()
