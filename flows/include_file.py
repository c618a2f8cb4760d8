"""A file included as a parameter: steps see its content, and so does who reads the run."""

import json
from pathlib import Path

from metaflow import FlowSpec, IncludeFile, step

CHECKS = {
    "content": {"about": "a text file's and a binary file's content reach the steps"},
    "described": {
        "about": "the client tells where it put the files, and with S3 data there they are",
        "client": ">=2.1.0,<2.7.13",
    },
    "read_back": {"about": "the parameters are read back as content"},
}

FOLDER = Path(__file__).resolve().parent / "included"
TEXT = "Grüße, 世界\nand a second line\n"
BINARY = bytes(range(256))


class IncludeFileFlow(FlowSpec):
    """Include a text file and a binary file."""

    # Releases 2.1.0 to 2.2.2 end every command with a TypeError where help is left out.
    text = IncludeFile("text", default=str(FOLDER / "text.txt"), encoding="utf-8", help="a text")
    binary = IncludeFile("binary", default=str(FOLDER / "bytes.bin"), is_text=False, help="bytes")

    @step
    def start(self):
        self.seen_text = self.text
        self.seen_binary = self.binary
        self.next(self.end)

    @step
    def end(self):
        print("%d characters" % len(self.text))


def check_content(run):
    """Compare the files as the step saw them."""
    data = run["start"].task.data
    assert data.seen_text == TEXT, "the step saw the text %r" % (data.seen_text,)
    assert data.seen_binary == BINARY, "the step saw the bytes %r" % (data.seen_binary,)
    return {"artifact_v3": [{"step_name": "start", "name": name} for name in ("text", "binary")]}


def check_described(run):
    """Promise the objects that the parameters name: these releases read back no content.

    Objects are looked for in an object store; with local data nobody looks at the files.
    """
    data = run["start"].task.data
    described = [json.loads(text) for text in (data.text, data.binary)]
    assert [file["is_text"] for file in described] == [True, False], repr(described)
    return {"objects": [{"url": file["url"]} for file in described]}


def check_read_back(run):
    """Compare the content that the parameters are read back as."""
    data = run["start"].task.data
    assert data.text == TEXT, "the text is read back as %r" % (data.text,)
    assert data.binary == BINARY, "the bytes are read back as %r" % (data.binary,)


if __name__ == "__main__":
    IncludeFileFlow()
