"""What a task shows of itself beside its data: what it printed, and its cards.

The default card, several of a task, composed ones, one refreshed while its task runs, one that
fails, and one of one's own. Releases before 2.4.7 have no cards, and before 2.5.0 only the default
one of a step; there the flow is the same without what they have not.
"""

import base64
import importlib.util
import re
import sys
from pathlib import Path

# Metaflow finds a card of one's own in metaflow_extensions, where Python looks for modules: this
# one is in probe/plugins/cards/probe_card/__init__.py. Before 2.5.0, which has a module for them,
# extensions were no namespace package, and one that is ends every run with a TypeError.
if any(Path(importlib.util.find_spec("metaflow").origin).parent.glob("extension_support*")):
    sys.path.insert(0, str(Path(__file__).resolve().parent / "included"))

try:
    import pandas as pd
except ImportError:  # without --with pandas
    pd = None

import metaflow
from metaflow import FlowSpec, current, step

try:
    from metaflow.cards import Markdown
except ImportError:  # before 2.5.0
    Markdown = None

ACTIONS = [
    {"verb": "run"},
    {
        "verb": "command",
        "name": "card_get",
        "about": "a card is fetched by command",
        "client": ">=2.5.0",
        "args": ["card", "get", "{run.start}", "--id", "live"],
    },
]

CHECKS = {
    "logs": {"about": "what a task printed to stdout and stderr is read back by the client"},
    "card": {"about": "a task's default card is read back and is HTML", "client": ">=2.4.7"},
    "several": {"about": "a task's cards are told apart by their ids", "client": ">=2.5.0"},
    "composed": {
        "about": "a card has what was appended to it, and others have not",
        "client": ">=2.5.0",
    },
    "failing": {
        "about": "a card that cannot be rendered is an error card, and its task goes on",
        "client": ">=2.5.0",
    },
    "own": {
        "about": "a card of one's own has what it makes of its options and of the task",
        "client": ">=2.5.0",
    },
    "refreshed": {
        "about": "a card that was refreshed while its task ran shows the last of it",
        "client": ">=2.10.9",
    },
    "fetched": {
        "about": "the card fetched by command has what was appended to it",
        "client": ">=2.5.0",
        "action": "card_get",
    },
    "frame": {
        "about": "the card of a task shows what is in its data frame",
        "client": ">=2.5.0",
        "package": "pandas",
    },
}

STDOUT = "this line went to the standard output"
STDERR = "this line went to the standard error"

# Named, not written, in the step: the card shows its code, too.
IN_FRAME = "a hexagon in a data frame"

SHOWS = {
    "log": ["start", "this line went to the standard output"],
    "artifact": ["shape", "hexagon"],
    "card": "start",
    "steps": {"start": 1, "end": 1},
}

WORDS = "a hexagon stands here"
EARLY, LATE = WORDS + " at the beginning", WORDS + " at the end"


def with_card(**options):
    """Decorate a step with a card, where the release has cards: before 2.5.0 it is the one."""
    # Not imported by name: one file must be read by every release since 2.0.0.
    card = getattr(metaflow, "card", None)
    if card is None or (Markdown is None and "type" in options):
        return lambda function: function
    return card(**options) if Markdown else card


def with_frame_card(function):
    """Decorate the step that has a data frame with a card, where there are data frames."""
    return with_card(type="default")(function) if pd else function


class CardFlow(FlowSpec):
    """Print two lines; compose and refresh a card, and fail to render another."""

    # A card for tests that comes with the client: it raises when it is rendered.
    @with_card(type="test_error_card", id="failing")
    @with_card(id="live")
    @step
    def start(self):
        self.shape = "hexagon"
        print(STDOUT)
        sys.stderr.write(STDERR + "\n")
        if Markdown:
            self.refreshed = hasattr(current.card, "refresh")
            line = Markdown(EARLY)
            current.card["live"].append(line)
            if self.refreshed:
                current.card["live"].refresh()
                line.update(LATE)
        self.next(self.end)

    @with_card(type="probe_card", options={"word": WORDS})
    @with_frame_card
    @step
    def end(self):
        if pd:
            # In the middle: a release that does not know the type shows the ends of its repr.
            self.frame = pd.DataFrame({"shape": ["line"] * 3 + [IN_FRAME] + ["line"] * 3})
        print("done")


def cards_of(run, step="start", **options):
    """Return the cards of a step's task."""
    from metaflow.cards import get_cards  # noqa: PLC0415 - absent before 2.4.7

    return list(get_cards(run[step].task, **options))


def live(run):
    """Return the page of the one card that has an id, with the data in it decoded."""
    found = cards_of(run, id="live")
    assert len(found) == 1, "%d cards have the id" % len(found)
    return decoded(found[0].get())


def other(run):
    """Return the page of the one other card: in some releases an error card has no id."""
    found = [one for one in cards_of(run) if str(one.id) != "live"]
    assert len(found) == 1, "there are %d other cards" % len(found)
    return decoded(found[0].get())


def decoded(html):
    """Return a card's page with the data in it, which is base64, decoded behind it."""
    parts = re.findall(r'["\'=]([A-Za-z0-9+/]{40,}={0,2})["\']', html)
    texts = []
    for part in parts:
        try:
            texts.append(base64.b64decode(part).decode("utf-8"))
        except ValueError:
            continue
    return "\n".join([html, *texts])


def check_logs(run):
    """Read what the first task printed."""
    task = run["start"].task
    assert STDOUT in task.stdout.splitlines(), "stdout is %r" % (task.stdout,)
    assert STDERR in task.stderr.splitlines(), "stderr is %r" % (task.stderr,)


def check_card(run):
    """Read the default card."""
    cards = cards_of(run, type="default")
    assert len(cards) == 1, "%d cards instead of one" % len(cards)
    text = cards[0].get()
    assert "<html" in text.lower(), "the card is %r" % (text[:80],)


def check_several(run):
    """Count the cards, and fetch one by its id."""
    assert len(cards_of(run)) == 2, "there are %d cards" % len(cards_of(run))
    assert [str(one.id) for one in cards_of(run, id="live")] == ["live"]


def check_composed(run):
    """Look for the words in the one card, and not in the other."""
    assert WORDS in live(run), "the card is without its words"
    assert WORDS not in other(run), "the other card has the words, too"


def check_failing(run):
    """Look for the error, and at the task."""
    assert run["start"].task.successful, "the task failed with its card"
    assert "Traceback" in other(run), "the card does not tell the error"


def check_own(run):
    """Compare the page with what the card makes: an option, and an artifact of the task."""
    found = [one.get() for one in cards_of(run, "end", type="probe_card")]
    assert len(found) == 1, "there are %d cards" % len(found)
    expected = "%s: hexagon" % WORDS
    assert expected in found[0], "the card is %.200r" % found[0]


def check_refreshed(run):
    """Look for the last words, and not for the first."""
    assert run["start"].task.data.refreshed, "a card cannot be refreshed"
    text = live(run)
    assert LATE in text, "the last words are not in the card"
    assert EARLY not in text, "the first words are in the card still"


def check_fetched(output):
    """Look for the words in what was printed."""
    assert WORDS in decoded(output.stdout), "printed was %.200r" % output.stdout


def check_frame(run):
    """Look for the row in the page: in a table, not in the words for an unknown object."""
    found = cards_of(run, "end", type="default")
    assert len(found) == 1, "%d cards instead of one" % len(found)
    assert IN_FRAME in decoded(found[0].get()), "the data frame's rows are not in the card"


if __name__ == "__main__":
    CardFlow()
