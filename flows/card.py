"""What a task shows of itself beside its data: what it printed, and a card.

Releases before 2.4.7 have no cards; there the flow is the same without one.
"""

import sys

import metaflow
from metaflow import FlowSpec, step

CHECKS = {
    "logs": {"about": "what a task printed to stdout and stderr is read back by the client"},
    "card": {"about": "a task's default card is read back and is HTML", "client": ">=2.4.7"},
}

STDOUT = "this line went to the standard output"
STDERR = "this line went to the standard error"

SHOWS = {
    "log": ["start", "this line went to the standard output"],
    "artifact": ["shape", "hexagon"],
    "card": "start",
}


def with_card(function):
    """Decorate a step with the default card, where the release has cards."""
    # Not imported by name: one file must be read by every release since 2.0.0.
    card = getattr(metaflow, "card", None)
    return card(function) if card else function


class CardFlow(FlowSpec):
    """Print two lines and draw a card."""

    @with_card
    @step
    def start(self):
        self.shape = "hexagon"
        print(STDOUT)
        sys.stderr.write(STDERR + "\n")
        self.next(self.end)

    @step
    def end(self):
        print("done")


def check_logs(run):
    """Read what the first task printed."""
    task = run["start"].task
    assert STDOUT in task.stdout.splitlines(), "stdout is %r" % (task.stdout,)
    assert STDERR in task.stderr.splitlines(), "stderr is %r" % (task.stderr,)


def check_card(run):
    """Read the first task's card."""
    from metaflow.cards import get_cards  # noqa: PLC0415 - absent before 2.4.7

    cards = list(get_cards(run["start"].task))
    assert len(cards) == 1, "%d cards instead of one" % len(cards)
    text = cards[0].get()
    assert "<html" in text.lower(), "the card is %r" % (text[:80],)


if __name__ == "__main__":
    CardFlow()
