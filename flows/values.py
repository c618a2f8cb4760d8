"""What a run hands on: parameters of all types, files, artifacts of many kinds and sizes, its code.

By hand: ``python flows/values.py run --text x --ratio 0.5 --flag true --table '{}'``.
"""

import collections
import datetime as dt
import decimal
import http
import json
import math
import uuid
from pathlib import Path

from metaflow import DataArtifact, FlowSpec, IncludeFile, JSONType, Parameter, step

ACTIONS = [
    {
        "verb": "run",
        "parameters": {
            "text": 'häß "quoted" $HOME ; 日本',
            "ratio": "0.25",
            "flag": "true",
            "table": '{"a": [1, null, {"ü": 2.5}]}',
        },
        # Unasked a run keeps its code only where a task runs elsewhere, in a cloud.
        "env": {"METAFLOW_FEAT_ALWAYS_UPLOAD_CODE_PACKAGE": "1"},
    },
]

CHECKS = {
    "parameters": {"about": "parameters given are read back as typed values, in every task"},
    "defaults": {"about": "parameters that are not given have their defaults, a made one too"},
    "constant": {"about": "a step cannot change a parameter"},
    "included": {"about": "a text file's and a binary file's content reach the steps"},
    "described": {
        "about": "the client tells where it put the files, and with S3 data there they are",
        "client": ">=2.1.0,<2.7.13",
    },
    "included_back": {"about": "included files are read back as content"},
    "kinds": {"about": "artifacts of the common kinds are read back equal, and of the same type"},
    "special": {"about": "infinite, not-a-number and negative zero stay what they are"},
    "large": {"about": "artifacts of megabytes are read back equal"},
    "many": {"about": "a task with 120 artifacts has all of them, each with its value"},
    "changed": {"about": "an artifact changed in a later step has its own value in each task"},
    "by_path": {"about": "an artifact is found by its path, and is read back equal"},
    # 2.16.0 to 2.16.6 cannot open it: https://github.com/Netflix/metaflow/pull/2507
    "code": {
        "about": "the run's code package, which is that of a task, holds this file",
        # Before, what runs on the machine itself has no code package.
        "client": ">=2.16.0",
    },
    # Up to 2.18.4 it is damaged: https://github.com/Netflix/metaflow/pull/2603
    "tarball": {"about": "the code package is opened, and read", "client": ">=2.16.0"},
    "environment": {
        "about": "a step whose task has a code package tells its task's environment",
        "client": ">=2.16.0",
    },
}

SHOWS = {"artifact": ["whole", "-12345"], "steps": {"start": 1, "end": 1}}

FOLDER = Path(__file__).resolve().parent / "included"
FILE_TEXT = "Grüße, 世界\nand a second line\n"
FILE_BYTES = bytes(range(256))

TEXT = 'häß "quoted" $HOME ; 日本'
TABLE = {"a": [1, None, {"ü": 2.5}]}

KINDS = {
    "nothing": None,
    "yes": True,
    "whole": -12345,
    "huge": 2**200,
    "fraction": 0.1,
    "imaginary": 2 + 3j,
    "empty": "",
    "unicode": "ä€😀\x00\n\t'\"</script>",
    "octets": bytes(range(256)),
    "array": bytearray(b"\x00\xff"),
    "row": [1, [2, [3, []]]],
    "pair": (1, "two", (3.0,)),
    "bag": {"a", 1, (2, 3)},
    "frozen": frozenset([1, 2]),
    "mapping": {"a": 1, 2: None, (3, 4): {"b": []}},
    "ordered": collections.OrderedDict([("z", 1), ("a", 2)]),
    "counted": collections.Counter("abracadabra"),
    "day": dt.date(2020, 2, 29),
    "instant": dt.datetime(2020, 2, 29, 23, 59, 59, 999999, tzinfo=dt.timezone.utc),
    "span": dt.timedelta(days=-1, microseconds=1),
    "exact": decimal.Decimal("0.10"),
    "id128": uuid.UUID(int=2**127 + 1),
    "numbers": range(3, 30, 4),
    "choice": http.HTTPStatus.NOT_FOUND,
    "function": math.sqrt,
    "deep": None,
}
for _ in range(100):
    KINDS["deep"] = [KINDS["deep"]]


def large():
    """Return what is large: made where it is needed, for every check loads this file."""
    return {
        "large_octets": bytes(range(256)) * 16384,
        "large_text": "häß " * 500000,
        "large_list": list(range(200000)),
    }


MANY = {"many_%03d" % number: number * number for number in range(120)}


class ValuesFlow(FlowSpec):
    """Store one artifact of each kind."""

    text = Parameter("text", default="not given")
    ratio = Parameter("ratio", default=1.5)
    count = Parameter("count", default=7)
    flag = Parameter("flag", default=False, type=bool)
    table = Parameter("table", type=JSONType, default="[]")
    lists = Parameter("lists", type=JSONType, default='[[], {"x": null}]')
    made = Parameter("made", default=lambda context: "made for " + context.flow_name)

    # Releases 2.1.0 to 2.2.2 end every command with a TypeError where help is left out.
    file = IncludeFile("file", default=str(FOLDER / "text.txt"), encoding="utf-8", help="a text")
    raw = IncludeFile("raw", default=str(FOLDER / "bytes.bin"), is_text=False, help="bytes")

    @step
    def start(self):
        self.seen_text = self.file
        self.seen_bytes = self.raw
        for values in (KINDS, large(), MANY):
            for name, value in values.items():
                setattr(self, name, value)
        self.infinite, self.not_a_number, self.minus_zero = float("-inf"), float("nan"), -0.0
        self.stage = ["first"]
        try:
            self.count = 8
        except AttributeError:
            self.refused = True
        self.next(self.end)

    @step
    def end(self):
        self.stage.append("second")


def equal(name, value, expected):
    """Assert that a value is what was stored, and say of large ones only how they differ."""
    assert type(value) is type(expected), "%s is a %s" % (name, type(value).__name__)
    assert value == expected, "%s is %.200r" % (name, value)


def check_parameters(run):
    """Read what was given, as the first and as the last task saw it."""
    for name in ("start", "end"):
        data = run[name].task.data
        equal("text", data.text, TEXT)
        equal("ratio", data.ratio, 0.25)
        equal("flag", data.flag, True)
        equal("table", data.table, TABLE)
    return {"artifact_v3": [{"step_name": "start", "name": name} for name in ("text", "table")]}


def check_defaults(run):
    """Read what was not given."""
    equal("count", run.data.count, 7)
    equal("lists", run.data.lists, [[], {"x": None}])
    equal("made", run.data.made, "made for ValuesFlow")


def check_constant(run):
    """Look whether the step was refused."""
    task = run["start"].task
    assert "refused" in task, "the step could change a parameter"
    equal("count", task.data.count, 7)


def check_included(run):
    """Compare the files as the first step saw them."""
    data = run["start"].task.data
    assert data.seen_text == FILE_TEXT, "the step saw the text %r" % (data.seen_text,)
    assert data.seen_bytes == FILE_BYTES, "the step saw the bytes %r" % (data.seen_bytes,)
    return {"artifact_v3": [{"step_name": "start", "name": name} for name in ("file", "raw")]}


def check_described(run):
    """Promise the objects that the parameters name: these releases read back no content.

    Objects are looked for in an object store; with local data nobody looks at the files.
    """
    data = run["start"].task.data
    described = [json.loads(text) for text in (data.file, data.raw)]
    assert [file["is_text"] for file in described] == [True, False], repr(described)
    return {"objects": [{"url": file["url"]} for file in described]}


def check_included_back(run):
    """Compare the content that the parameters are read back as."""
    data = run["start"].task.data
    assert data.file == FILE_TEXT, "the text is read back as %r" % (data.file,)
    assert data.raw == FILE_BYTES, "the bytes are read back as %r" % (data.raw,)


def check_kinds(run):
    """Read every artifact from the task that set it, and from the one that got it."""
    for name in ("start", "end"):
        task = run[name].task
        for kind, expected in KINDS.items():
            equal("%s of %s" % (kind, name), task[kind].data, expected)
    return {
        "artifact_v3": [
            {"step_name": step, "name": name} for step in ("start", "end") for name in KINDS
        ]
    }


def check_special(run):
    """Read floats that compare in ways of their own."""
    data = run["start"].task.data
    assert data.infinite == float("-inf"), "infinite is %r" % data.infinite
    assert math.isnan(data.not_a_number), "not_a_number is %r" % data.not_a_number
    assert math.copysign(1, data.minus_zero) == -1, "minus_zero is %r" % data.minus_zero


def check_large(run):
    """Read what is large, from the last task: it was stored once and handed on."""
    for name, expected in large().items():
        equal(name, run["end"].task[name].data, expected)


def check_many(run):
    """List all artifacts, and read the numbered ones."""
    task = run["start"].task
    found = sorted(one.id for one in task if one.id.startswith("many_"))
    assert found == sorted(MANY), "there are %d instead of %d: %r" % (
        len(found),
        len(MANY),
        sorted(set(MANY) ^ set(found)),
    )
    data = task.data  # asked for anew, it lists all of them each time
    for name, expected in MANY.items():
        equal(name, getattr(data, name), expected)
    return {"artifact_v3": [{"step_name": "start", "name": name} for name in MANY]}


def check_changed(run):
    """Read what both tasks say."""
    equal("stage of start", run["start"].task.data.stage, ["first"])
    equal("stage of end", run["end"].task.data.stage, ["first", "second"])


def check_by_path(run):
    """Fetch one artifact by itself."""
    task = run["start"].task
    found = DataArtifact(task.pathspec + "/unicode")
    equal("unicode", found.data, KINDS["unicode"])
    assert found.sha == task["unicode"].sha, "its checksum differs"


def check_code(run):
    """Compare the file in the package, which is made beside the first task, with this one."""
    expected = Path(__file__).read_bytes()
    # That of a run is that of one of its tasks, and each look at it opens the whole package.
    code = run.code
    assert code is not None, "there is no code package"
    assert code.script_name == Path(__file__).name, "the script is %r" % (code.script_name,)
    found = code.flowspec
    found = found if type(found) is bytes else found.encode("utf-8")
    assert found == expected, "the file has %d bytes, not %d" % (len(found), len(expected))


def check_tarball(run):
    """Read one of Metaflow's own files from it."""
    tarball = run["end"].task.code.tarball
    names = [one for one in tarball.getnames() if one.endswith("metaflow/client/core.py")]
    assert len(names) == 1, "of Metaflow's files it has %r" % (names,)
    text = tarball.extractfile(names[0]).read()
    assert b"class MetaflowCode" in text, "the file begins with %r" % (text[:80],)


def check_environment(run):
    """Ask for it: nothing was declared for the flow."""
    # That of a step is that of its first task.
    found = run["end"].environment_info
    assert found == "Local environment", "it is %r" % (found,)


if __name__ == "__main__":
    ValuesFlow()
