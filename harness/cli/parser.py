"""The parsers of what follows ``--``, one per session, made from what is declared."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NoReturn

from harness.cli.declared import OPTIONS, options_of
from harness.cli.option import Option
from harness.cli.secret import is_reference, read_secret
from harness.machine.errors import UsageError, nearest


@dataclass(frozen=True)
class Session:
    """A session that takes options.

    Attributes:
        about: what its help begins with.
        examples: what it ends with.
    """

    about: str
    examples: str = ""


_RUN = "Everything after -- is read before anything starts."

SESSIONS = {
    "compat": Session(
        _RUN,
        """examples:
  nox -s compat                                        the default clients × services
  nox -s compat -- --metaflow 2.2.1,2.2.2 --service '>=2.3'
  nox -s "compat(2.19.39)" -- --probe hello --jobs 1
  nox -s compat -- --python 3.11,3.12                  on the Pythons that users have
  nox -s compat -- --plan                              print what would run, and stop""",
    ),
    "cross": Session(
        f"Each client runs probes for others to read and resume, in one database. {_RUN}",
        """examples:
  nox -s cross                                         each release with the ones beside it
  nox -s cross -- --metaflow 2.7.23,2.17.3,2.19.39 --pairs all
  nox -s cross -- --pairs 2.17.3:2.19.39:2.19.39       one writes, the other reads and resumes""",
    ),
    "chaos": Session(
        "Breaks what a run needs while it runs: it must end well, with nothing lost and nothing"
        f" twice, or with the client's own error and be resumed. {_RUN}",
        """examples:
  nox -s chaos                                         every fault, each client × the newest service
  nox -s "chaos(2.19.39)" -- --scenario service-restart,full-disk=7
  nox -s chaos -- --checkout ../metaflow-service --service v2.5.1""",
    ),
    "fixed_db": Session(
        _RUN,
        """examples:
  nox -s fixed_db                                      one database through every service
  nox -s fixed_db -- --metaflow 2.2.13,2.19.39
  nox -s fixed_db -- --path 2.0.4,2.5                  jump, as users do
  nox -s fixed_db -- --seed 4 --plan                   a random path with rollbacks""",
    ),
    "full": Session(
        _RUN,
        """examples:
  nox -s full                                          fixed_db, keep, then the UI
  nox -s full -- --checkout ../metaflow-service --ui-assets metaflow-ui-v1.3.14.zip""",
    ),
    "local": Session(
        _RUN,
        """examples:
  nox -s local                                         the default clients, no service
  nox -s local -- --metaflow all --probe hello""",
    ),
    "ui": Session(
        _RUN,
        """examples:
  nox -s ui                                            over what the last run kept
  nox -s ui -- --checkout ../metaflow-service --ui-assets metaflow-ui-v1.3.14.zip
  nox -s ui -- --check --ui-version 'v2.3.2,v2.5.1'    a grid for each of these UIs
  nox -s ui -- --database-url postgresql://USER:PASSWORD@HOST:PORT/DATABASE""",
    ),
    "bisect": Session(
        "Finds the first release or commit where a check fails, or the first where it passes again:"
        " each step is one cell of compat. What cannot be tested is skipped.",
        """examples:
  nox -s bisect -- --check basics/resume --good 2.12.5 --bad 2.12.11
  nox -s bisect -- --check basics/run --good v2.4.0 --bad HEAD --checkout ../metaflow-service
  nox -s bisect -- --check basics/tags --good 2.19.38 --bad HEAD --metaflow-checkout ../metaflow""",
    ),
    "report": Session(
        "Draws every report again. Several sources are put together; of a cell that several have,"
        " the later entry counts.",
        """examples:
  nox -s report
  nox -s report -- shard-1 shard-2 --output merged""",
    ),
    "diff": Session(
        "What became red, green, new or gone. Fails when something became red, is new and red, or"
        " when NEW was cut short."
    ),
    "rerun": Session(
        "Runs again what failed, timed out or was infra in the last results, walks to the stages"
        " that are not green, or the cells that are named. Red before and green now is flaky. Both"
        " runs, put together, are the latest results then."
    ),
    "clean": Session("Removes what killed runs left, and what the runs that are named kept."),
}


class Parser(argparse.ArgumentParser):
    """The parser of one session, whose errors are ours: one sentence with the nearest valid choice.

    Args:
        session: its name.
    """

    def __init__(self, session: str) -> None:
        super().__init__(
            prog=f"nox -s {session} --",
            description=SESSIONS[session].about,
            epilog=SESSIONS[session].examples,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            # An abbreviation changes its meaning with the next option, and rerun lines are kept.
            allow_abbrev=False,
        )
        # So that an option can be asked for where the session does not take it; of several
        # declarations the first counts.
        self.set_defaults(**{option.dest: option.default for option in reversed(OPTIONS)})
        self.options = {option.name: option for option in options_of(session)}
        groups: dict[str, argparse._ActionsContainer] = {"": self}
        for option in self.options.values():
            group = groups.get(option.group) or self.add_argument_group(option.group)
            groups[option.group] = group
            _add(group, option)

    def error(self, message: str) -> NoReturn:
        """Raise what argparse would print."""
        raise UsageError(f"{message}; see: {self.prog} --help")

    def read(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Parse the arguments, and check what can be told of each alone and of what goes together.

        Returns:
            The values by their ``dest``; ``given``, the options that were given, as words of a
            command line; ``named``, those options; ``references``, by name what a command line
            holds in place of a secret.

        Raises:
            UsageError: for what is no option of this session, with what may have been meant, a
                wrong value, or options that do not go together.
            SystemExit: after printing, for ``--help``.
        """
        return self.validated(self.parsed(arguments))

    def parsed(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Return all that is unasked, and as ``texts`` what options were given, by name.

        Raises:
            UsageError: for what is no option of this session, with what may have been meant.
            SystemExit: after printing, for ``--help``.
        """
        # Not parse_args(), whose error does not say with which session an option goes.
        raw, unknown = self.parse_known_args(list(arguments), argparse.Namespace(texts={}))
        if unknown:
            self.error(self._about(unknown[0]))
        return raw

    def validated(self, raw: argparse.Namespace) -> argparse.Namespace:
        """Put the values of ``texts`` in their places, read and checked; see ``read``."""
        texts: dict[str, str] = raw.texts
        raw.named = [self.options[name] for name in texts]
        raw.given = tuple(word for one in raw.named for word in one.words(texts[one.name]))
        raw.references = {}
        for option in raw.named:
            self._read_value(raw, option, texts[option.name])
        self._check_together(texts)
        return raw

    def _read_value(self, raw: argparse.Namespace, option: Option, text: str) -> None:
        """Put the value of an option in its place, read and checked."""
        if option.kind is bool:
            setattr(raw, option.dest, True)
            return
        if not text and not option.may_be_empty:
            raise UsageError(f"{option.name} {text!r}: it is empty")
        # As a journal may have it that somebody wrote: no path, program or address takes one.
        if "\0" in text:
            raise UsageError(f"{option.name}: it has a NUL")
        named = option.secret is not None and is_reference(text, option.secret)
        if option.secret is not None and (named or option.secret(text)):
            written = text if named else f"env:{option.variable}"
            raw.references[option.name] = written
            text = read_secret(option.name, text)
        try:
            value = option.kind(text)
        except ValueError:
            self.error(f"argument {option.name}: invalid {option.kind.__name__} value: {text!r}")
        wrong = option.check(value)
        if wrong:
            raise UsageError(f"{option.name} {text}: {wrong}")
        setattr(raw, option.dest, value)

    def _check_together(self, texts: dict[str, str]) -> None:
        for name, text in texts.items():
            option = self.options[name]
            for other, sentence in option.needs.items():
                if other not in texts:
                    raise UsageError(sentence.format(name=name, value=text))
            for other, sentence in option.excludes.items():
                if other in texts and sentence:
                    raise UsageError(sentence.format(name=name, other=other))
                if other in texts:
                    first, second = (one for one in texts if one in {name, other})
                    self.error(f"argument {second}: not allowed with argument {first}")

    def _about(self, word: str) -> str:
        """Return what is wrong with a word that is no option of this session."""
        if not word.startswith("-"):
            by = [f"{what} by {name}" for name, what in _CHOSEN_BY.items() if name in self.options]
            what = f"; options select what runs: {', '.join(by)}" if by else ""
            return f"unexpected argument {word!r}{what}"
        name = word.partition("=")[0]
        sessions = [session for session in SESSIONS if name in _names(options_of(session))]
        if sessions:
            return f"unknown option {name}: it goes with {', '.join(sessions)}"
        known = [*_names(self.options.values()), "--help"]
        return f"unknown option {name}{nearest(name, known)}"


_CHOSEN_BY = {"--metaflow": "clients", "--service": "services"}


def _names(options: Iterable[Option]) -> list[str]:
    return [name for option in options for name in (option.name, *option.aliases)]


class _Given(argparse.Action):
    """Writes down the text an option is given, once."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[object] | None,
        option_string: str | None = None,
    ) -> None:
        """Write it down; the text of an option without a value is empty."""
        texts: dict[str, str] = namespace.texts
        if self.option_strings[0] in texts:
            parser.error(f"{option_string} is given twice: leave one out")
        texts[self.option_strings[0]] = values if isinstance(values, str) else ""


def _add(group: argparse._ActionsContainer, option: Option) -> None:
    about = option.help + (f" (default: {option.default_text})" if option.default_text else "")
    if not option.has_dashes:
        count = option.count or None
        group.add_argument(option.name, nargs=count, type=option.kind, help=about)
    elif option.kind is bool:
        group.add_argument(
            *_names([option]), dest=option.dest, action=_Given, nargs=0, default=False, help=about
        )
    else:
        group.add_argument(
            *_names([option]),
            dest=option.dest,
            action=_Given,
            default=option.default,
            metavar=option.metavar or None,
            choices=option.choices or None,
            nargs="?" if option.bare else None,
            const=option.bare,
            help=about,
        )


def build_parser(session: str) -> Parser:
    """Return the parser of one session's options, grouped, with examples."""
    return Parser(session)


def for_containers(raw: argparse.Namespace) -> list[Option]:
    """Return the options that were given and that nothing but containers heeds."""
    of_containers = (option for option in raw.named if option.backend == "docker")
    return [option for option in of_containers if getattr(raw, option.dest)]
