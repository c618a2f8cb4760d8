"""Metaflow's own S3 client, as a task uses it: put, get, put_many, get_many and listing.

Listed are a level, all levels, a key beside one that begins alike, and the bucket itself.

Each operation is tried even when another failed, and has a check of its own. What the client says
it put must be in the object store.
"""

from metaflow import S3, FlowSpec, step

DATASTORES = ["s3"]

CHECKS = {
    "put": {"about": "an object put by a task is in the object store, under the run's prefix"},
    "get": {"about": "the object is read equal, in the task and from outside by the run"},
    "missing": {"about": "an object that does not exist is an error, or missing where asked for"},
    "put_many": {"about": "many objects put at once are all in the object store"},
    "get_many": {"about": "many objects are read equal and in order"},
    "list": {"about": "one level, and all levels, are listed as they were put"},
    "alike": {"about": "listed below a key is nothing of another key that begins with its name"},
    "root": {"about": "a bucket is listed at its root, too"},
    "odd_keys": {"about": "keys with blanks, signs and letters of any script are stored and read"},
    "hash_sign": {"about": "a key with a # in it, a fragment to URLs, is stored and read whole"},
    "question_mark": {"about": "a key with a ? in it, a query to URLs, is stored and read whole"},
}

SHOWS = {"steps": {"start": 1, "end": 1}}

ONE = ("one", b"\x00\xff single object" * 300)
# Few, and read once: for any number of objects releases before 2.3.1 start 64 processes.
MANY = [("many/%d" % number, ("häß %d" % number) * number * 50) for number in (1, 2, 3)]
KEYS = [key for key, _ in MANY]
ALIKE = {"log/own": b"own", "log_other/theirs": b"theirs", "log.txt": b"text"}
ODD = {
    "odd/with blank": b"1",
    "odd/a+b&c=d": b"2",
    "odd/50%25": b"3",
    "odd/h\u00e4\u00df-\u65e5\u672c": b"4",
    "odd/(a)'b'!~*": b"5",
}
HASH_SIGN = {"hash/a": b"whole", "hash/a#b": b"with a sign"}
QUESTION_MARK = {"question/a": b"whole", "question/a?b": b"with a sign"}


def attempt(operation):
    """Return what an operation returned, or its error in words: the next must still be tried."""
    try:
        return {"value": operation()}
    except Exception as error:
        return {"error": "%s: %s" % (type(error).__name__, error)}


def value(outcome):
    """Return what an operation returned in the task."""
    assert "error" not in outcome, "in the task: %s" % outcome["error"]
    return outcome["value"]


def one_blob(s3):
    """Read the single object."""
    return s3.get(ONE[0]).blob


def many_texts(s3):
    """Read the many objects, as key and text."""
    return [(found.key, found.text) for found in s3.get_many(KEYS)]


def listings(s3):
    """List one level at the top, and everything below one key."""
    top = sorted((found.key, found.exists) for found in s3.list_paths())
    below = sorted((found.key, found.size) for found in s3.list_recursive(["many"]))
    return top, below


def alike(s3):
    """Put keys that begin alike, and list below the shortest."""
    for key, blob in sorted(ALIKE.items()):
        s3.put(key, blob)
    recursive = sorted(found.url.rsplit("/log", 1)[1] for found in s3.list_recursive(["log"]))
    level = sorted(found.url.rsplit("/log", 1)[1] for found in s3.list_paths(["log"]))
    return {"recursive": recursive, "level": level}


def at_the_root(url):
    """List one level of the bucket of an object; return its keys with whether they are objects."""
    bucket = url.split("/")[2]
    with S3(s3root="s3://" + bucket) as s3:
        return sorted((found.key.strip("/"), found.exists) for found in s3.list_paths())


def put_and_read(s3, pairs):
    """Put, list and get each key; return what was read, and the keys that were listed."""
    keys = sorted(pairs)
    for key in keys:
        s3.put(key, pairs[key])
    read = [s3.get(key).blob for key in keys]
    many = [found.blob for found in s3.get_many(keys)]
    return {"read": read, "many": many, "listed": listed_below(s3, keys)}


def listed_below(s3, keys):
    """Return the whole keys that are listed in the folder of these."""
    folder = keys[0].split("/")[0]
    return sorted("%s/%s" % (folder, found.key) for found in s3.list_recursive([folder]))


class S3ClientFlow(FlowSpec):
    """Put, get and list in one task."""

    @step
    def start(self):
        with S3(run=self) as s3:
            self.put = attempt(lambda: s3.put(*ONE))
            self.got = attempt(lambda: one_blob(s3))
            self.put_many = attempt(lambda: s3.put_many(MANY))
            self.got_many = attempt(lambda: many_texts(s3))
            self.listed = attempt(lambda: listings(s3))
            self.alike = attempt(lambda: alike(s3))
            self.odd_keys = attempt(lambda: put_and_read(s3, ODD))
            self.hash_sign = attempt(lambda: put_and_read(s3, HASH_SIGN))
            self.question_mark = attempt(lambda: put_and_read(s3, QUESTION_MARK))
            self.root = attempt(lambda: at_the_root(value(self.put)))
        self.next(self.end)

    @step
    def end(self):
        print("put: %s" % self.put)


def check_put(run):
    """Promise the object that the client said it put."""
    url = value(run["start"].task.data.put)
    assert url.endswith("%s/%s" % (run.pathspec, ONE[0])), "the url is %r" % url
    return {"objects": [{"url": url, "size": len(ONE[1])}]}


def check_get(run):
    """Read the object in the two ways of naming a run."""
    blob = value(run["start"].task.data.got)
    assert blob == ONE[1], "the task read %r" % blob[:40]
    with S3(run=run) as s3:
        blob = one_blob(s3)
    assert blob == ONE[1], "from outside %r is read" % blob[:40]


def check_missing(run):
    """Ask for an object that nobody put."""
    with S3(run=run) as s3:
        assert not s3.get("never", return_missing=True).exists
        try:
            s3.get("never")
        except Exception as error:
            # By its name, because the class is not at one place in all releases.
            name = type(error).__name__
            assert "NotFound" in name, "%s: %s" % (name, error)
        else:
            raise AssertionError("no error for an object that does not exist")


def check_put_many(run):
    """Promise every object that the client said it put."""
    urls = dict(value(run["start"].task.data.put_many))
    assert sorted(urls) == KEYS, "keys are %r" % sorted(urls)
    return {
        "objects": [{"url": urls[key], "size": len(text.encode("utf-8"))} for key, text in MANY]
    }


def check_get_many(run):
    """Compare what the task read."""
    found = value(run["start"].task.data.got_many)
    assert found == MANY, "the task read %r" % [key for key, _ in found]


def check_list(run):
    """Compare the listings with what was put."""
    expected = (
        [("many", False), (ONE[0], True)],
        # A key is relative to what was listed.
        [(key[len("many/") :], len(text.encode("utf-8"))) for key, text in MANY],
    )
    listed = value(run["start"].task.data.listed)
    assert listed == expected, "the task listed %r" % (listed,)


def check_alike(run):
    """Compare what was listed below a key with the one object that is there."""
    found = value(run["start"].task.data.alike)
    assert found == {"recursive": ["/own"], "level": ["/own"]}, "listed below log: %r" % found


def check_root(run):
    """Look for the prefix that everything of the run is under."""
    prefix = value(run["start"].task.data.put).split("/")[3]
    listed = value(run["start"].task.data.root)
    assert (prefix, False) in listed, "listed are %r, not %r" % (listed[:5], prefix)


def check_odd_keys(run):
    """Compare what was read and listed with what was put."""
    same_as_put(value(run["start"].task.data.odd_keys), ODD)


def check_hash_sign(run):
    """Compare what was read and listed with what was put."""
    same_as_put(value(run["start"].task.data.hash_sign), HASH_SIGN)


def check_question_mark(run):
    """Compare what was read and listed with what was put."""
    same_as_put(value(run["start"].task.data.question_mark), QUESTION_MARK)


def same_as_put(found, pairs):
    """Fail unless all that was put was read, one by one and together, and listed."""
    blobs = [pairs[key] for key in sorted(pairs)]
    assert found["read"] == blobs, "get read %r" % found["read"]
    assert found["many"] == blobs, "get_many read %r" % found["many"]
    assert found["listed"] == sorted(pairs), "listed %r" % found["listed"]


if __name__ == "__main__":
    S3ClientFlow()
