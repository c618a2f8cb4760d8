"""Cards of all kinds: several of a step, composed, refreshed while the task runs, and failing."""

import base64
import re

import metaflow
from metaflow import FlowSpec, current, step

ACTIONS = [
    {"verb": "run", "client": ">=2.5.0"},
    {
        "verb": "command",
        "name": "card_get",
        "about": "a card is fetched by command",
        "client": ">=2.5.0",
        "args": ["card", "get", "{run.start}", "--id", "first"],
    },
    {
        "verb": "command",
        "name": "card_list",
        "about": "the cards of a task are listed by command",
        "client": ">=2.7.2",
        "args": ["card", "list", "{run.start}"],
    },
]

CHECKS = {
    "several": {"about": "a step's cards are told apart by their ids", "client": ">=2.5.0"},
    "composed": {"about": "each card has what was appended to it alone", "client": ">=2.5.0"},
    "failing": {
        "about": "a card that cannot be rendered is an error card, and its task goes on",
        "client": ">=2.5.0",
    },
    "refreshed": {
        "about": "a card that was refreshed while its task ran shows the last of it",
        "client": ">=2.11.0",
    },
    "fetched": {
        "about": "the card fetched by command has what was appended to it",
        "client": ">=2.5.0",
        "action": "card_get",
    },
    "listed": {
        "about": "the list has the ids of the cards",
        "client": ">=2.7.2",
        "action": "card_list",
    },
}

SHOWS = {"artifact": ["shape", "nonagon"], "card": "start"}

WORDS = {"first": "a hexagon stands here", "second": "an octagon stands there"}
EARLY, LATE = "progress: at the beginning", "progress: at the end"


def card(**options):
    """Decorate a step with a card, where the release has cards that are composed."""
    # Not imported by name: the file must be readable for every release since 2.0.0.
    decorate = getattr(metaflow, "card", None)
    return decorate(**options) if decorate else lambda function: function


class CardsFlow(FlowSpec):
    """Compose two cards, fail to render one, and refresh one."""

    @card(type="blank", id="first")
    @card(type="blank", id="second")
    @step
    def start(self):
        from metaflow.cards import Markdown  # noqa: PLC0415 - absent before 2.5.0

        self.shape = "nonagon"
        for name, words in WORDS.items():
            current.card[name].append(Markdown(words))
        self.next(self.failing)

    # A card for tests that comes with the client: it raises when it is rendered.
    @card(type="test_error_card", id="failing")
    @step
    def failing(self):
        self.next(self.end)

    @card(type="blank", id="live")
    @step
    def end(self):
        from metaflow.cards import Markdown  # noqa: PLC0415

        self.refreshed = hasattr(current.card, "refresh")
        line = Markdown(EARLY)
        current.card["live"].append(line)
        if self.refreshed:
            current.card["live"].refresh()
            line.update(LATE)


def cards_of(run, step_name, **options):
    """Return the cards of a step's task."""
    from metaflow.cards import get_cards  # noqa: PLC0415

    return list(get_cards(run[step_name].task, **options))


def the_card(run, step_name, name):
    """Return the text of the one card with an id."""
    found = cards_of(run, step_name, id=name)
    assert len(found) == 1, "%d cards have the id %s" % (len(found), name)
    return found[0].get()


def check_several(run):
    """Count them, and compare their ids."""
    found = sorted(str(one.id) for one in cards_of(run, "start"))
    assert found == ["first", "second"], "the ids are %r" % (found,)


def check_composed(run):
    """Look for each one's words, and for those of the other."""
    for name, other in (("first", "second"), ("second", "first")):
        text = decoded(the_card(run, "start", name))
        assert WORDS[name] in text, "the card %s is without its words" % name
        assert WORDS[other] not in text, "the card %s has the words of %s" % (name, other)


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


def check_failing(run):
    """Look for the error, and at the task."""
    assert run["failing"].task.successful, "the task failed with its card"
    found = cards_of(run, "failing")
    assert len(found) == 1, "there are %d cards" % len(found)
    assert "Traceback" in decoded(found[0].get()), "the card does not tell the error"


def check_refreshed(run):
    """Look for the last words, and not for the first."""
    assert run["end"].task.data.refreshed, "a card cannot be refreshed"
    text = decoded(the_card(run, "end", "live"))
    assert LATE in text, "the last words are not in the card"
    assert EARLY not in text, "the first words are in the card still"


def check_fetched(output):
    """Look for the words in what was printed."""
    assert WORDS["first"] in decoded(output.stdout), "printed was %.200r" % output.stdout


def check_listed(output):
    """Look for the ids in what was printed."""
    for name in ("first", "second"):
        assert name in output.stdout + output.stderr, "printed was %r" % output.stdout


if __name__ == "__main__":
    CardsFlow()
