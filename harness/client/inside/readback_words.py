"""What an exception says, in words of one line. A part of the program ``readback.py``."""

import ast
import linecache
import reprlib
import traceback
from pathlib import Path

MOST_CAUSES = 3
"""How many of the exceptions that led to another are told."""

LONGEST = 10000
"""Characters of what is told: an exception may say megabytes, which all who read it would carry."""

SHORT = reprlib.Repr()
SHORT.maxstring = SHORT.maxother = 80


def short(value):
    """Return a value as text of one short line, whatever its own ``repr`` does."""
    try:
        # It cuts what is in lists and strings before it is written out.
        return SHORT.repr(value if type(value) is not bytes else value[:80])[:120]
    except Exception as error:  # noqa: BLE001 - anything may be wrong with an object of a probe's
        return "<%s without a repr: %s>" % (type(value).__name__, type(error).__name__)


def text_of(error):
    """Return what an exception says: Metaflow's keep some of it where ``str`` does not look."""
    try:
        said = str(error)
    except Exception as worse:  # noqa: BLE001 - the exception may be a probe's own
        said = "<no text: %s>" % type(worse).__name__
    more = [getattr(error, name, None) for name in ("headline", "message")]
    return said or ": ".join(part for part in more if part and isinstance(part, str))


def failed_assert(path, line):
    """Return the assert statement on a line of a file, parsed; None when there is none."""
    try:
        with open(path, encoding="utf-8") as file:
            nodes = list(ast.walk(ast.parse(file.read())))
    except (OSError, ValueError, SyntaxError):
        return None
    for node in nodes:
        if isinstance(node, ast.Assert):
            lines = [part.lineno for part in ast.walk(node) if hasattr(part, "lineno")]
            if min(lines) <= line <= max(lines):
                return node
    return None


def expression(path, node):
    """Return the source of a failed assert's expression, in one line."""
    if hasattr(ast, "get_source_segment"):
        with open(path, encoding="utf-8") as file:
            source = ast.get_source_segment(file.read(), node.test)
    else:  # before 3.8 nobody knows where an expression ends
        source = linecache.getline(path, node.lineno).strip()[len("assert ") :]
    return " ".join((source or "").split())


def values(node, frame):
    """Return the values of an expression's names where it failed, as ``; NAME is VALUE``.

    Names only: to look at an attribute of a client's object may ask the service.
    """
    found = []
    parts = [part for part in ast.walk(node.test) if isinstance(part, ast.Name)]
    for part in sorted(parts, key=lambda part: (part.lineno, part.col_offset)):
        name = part.id
        if name in [known for known, _ in found]:
            continue
        value = frame.f_locals.get(name, frame.f_globals.get(name, part))
        if value is not part and not callable(value):
            found.append((name, value))
    return "".join("; %s is %s" % (name, short(value)) for name, value in found)


def where(error, path):
    """Return ``(FILE:LINE)`` of the probe's line that led to an exception, and where it was raised.

    Returns:
        It, or an empty text when no line of the probe did, and the text of a bare assert there.
    """
    frames = list(traceback.walk_tb(error.__traceback__))
    own = [(frame, line) for frame, line in frames if frame.f_code.co_filename == path]
    if not own:
        return "", ""
    frame, line = own[-1]
    place = "%s:%d" % (Path(path).name, line)
    if frame is not frames[-1][0]:
        last, number = frames[-1]
        parts = Path(last.f_code.co_filename).parts[-3:]
        place += ", raised at %s:%d, in %s" % ("/".join(parts), number, last.f_code.co_name)
    node = failed_assert(path, line) if isinstance(error, AssertionError) else None
    bare = node is not None and frame is frames[-1][0] and not str(error)
    told = "assert %s%s" % (expression(path, node), values(node, frame)) if bare else ""
    return " (%s)" % place, told


def causes(error):
    """Return the exceptions that led to one, nearest first: the last one may hide the first."""
    found, seen = [], {id(error)}
    while len(found) < MOST_CAUSES:
        hidden = None if error.__suppress_context__ else error.__context__
        error = error.__cause__ or hidden
        if error is None or id(error) in seen:
            break
        seen.add(id(error))
        found.append(error)
    return found


def named(error):
    """Return what an exception says, with its type where it is no assertion."""
    said, kind = text_of(error), type(error).__name__
    if isinstance(error, AssertionError) and said:
        return said
    return "%s: %s" % (kind, said) if said else kind


def words(error, path=""):
    """Return what an exception says, where in the probe it came up, and what led to it.

    Args:
        error: the exception.
        path: the probe's file.
    """
    place, told = where(error, path)
    told = (told or named(error)) + place
    for cause in causes(error):
        if not text_of(cause) or text_of(cause) not in told:
            told += "; after %s%s" % (named(cause), where(cause, path)[0])
    return told


def cut(text):
    """Return a text without its middle, where it is longer than anybody reads."""
    if len(text) <= LONGEST:
        return text
    half = LONGEST // 2
    left_out = "[... %d characters are left out ...]" % (len(text) - LONGEST)
    return text[:half] + left_out + text[-half:]


def tell(error, path=""):
    """Return why something failed, whatever was raised, and show the whole of it in the log."""
    try:
        traceback.print_exception(type(error), error, error.__traceback__)
        return cut(words(error, path))
    except BaseException as worse:  # noqa: BLE001 - the exception may be a probe's own
        return "%s, of which nothing can be told: %s" % (type(error).__name__, type(worse).__name__)
