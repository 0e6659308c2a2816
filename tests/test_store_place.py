"""A place in an object store: whole objects or none, and one clear line for everything that goes wrong."""

from __future__ import annotations

import io
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pyarrow import fs

from scalelaw.errors import UserError
from scalelaw.runs.store import is_uri
from scalelaw.runs.store.mirror import mirror_of
from scalelaw.runs.store.place import Place, StoreError, opened, run_of, without_secrets


def local(folder: Path) -> Place:
    return opened(folder.as_uri())


def places(tmp_path: Path) -> list[Place]:
    """The same place by three filesystems: a disk's, one below another, one in memory."""
    below = fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem())
    memory = fs._MockFileSystem(datetime.now(UTC).replace(tzinfo=None))
    return [local(tmp_path / "disk"), Place(below, "below", "sub://below"), Place(memory, "bucket/x", "mock://x")]


@pytest.mark.parametrize("which", range(3))
def test_objects_are_written_listed_read_and_removed(tmp_path, which):
    place = places(tmp_path)[which]
    assert place.listing() == {}
    assert place.read("a/b/c.txt") is None
    place.write("a/b/c.txt", b"one")
    place.write("top", b"")
    place.write("a/b/c.txt", b"other")
    assert set(place.listing()) == {"a/b/c.txt", "top"}
    assert {name: size for name, (_, size) in place.listing().items()} == {"a/b/c.txt": 5, "top": 0}
    assert set(place.listing("a")) == {"a/b/c.txt"}
    assert place.listing(recursive=False).keys() == {"a", "top"}
    assert place.marks(["a/b/c.txt", "a", "none"]).keys() == {"a/b/c.txt"}
    assert place.read("a/b/c.txt") == b"other"
    with place.reading("a/b/c.txt") as stream:
        assert stream.read(2) == b"ot"
    place.remove("a/b/c.txt")
    place.remove("a/b/c.txt")
    place.remove_folder("a")
    place.remove_folder("a")
    assert place.listing().keys() == {"top"}


@pytest.mark.parametrize("which", range(3))
def test_what_is_not_written_to_its_end_is_not_there(tmp_path, which):
    place = places(tmp_path)[which]
    place.write("x/before", b"whole")

    def torn(name: str) -> None:
        with place.writing(name) as stream:
            stream.write(b"half")
            raise KeyboardInterrupt

    for name in ("x/before", "x/new"):
        with pytest.raises(KeyboardInterrupt):
            torn(name)
    assert place.listing().keys() == {"x/before"}
    assert not list(tmp_path.rglob(".*")), "what was written aside is left"
    assert place.read("x/before") == b"whole"


def test_a_change_of_equal_size_changes_the_mark(tmp_path):
    place = local(tmp_path)
    place.write("x", b"1")
    before = place.marks(["x"])
    place.write("x", b"2")
    assert place.marks(["x"]) != before


@pytest.mark.parametrize(("text", "expected"), [
    ("s3://bucket/x", True), ("gs://b", True), ("file:///tmp/x", True), ("abfss://c@a.dfs.core.windows.net/x", True),
    ("results/demo", False), ("/tmp/x", False), ("wandb:team/project", False), ("./a://b", False),
])  # fmt: skip
def test_a_uri_is_told_from_a_path(text, expected):
    assert is_uri(text) is expected


@pytest.mark.parametrize(("uri", "said"), [
    ("foo://bucket/x", "foo://bucket/x: is of no known kind; folders are named by a path or by s3://"),
    ("file://host/x", "file://host/x: cannot be opened (Unsupported hostname"),
    ("file:///", "names no folder; add its path"),
    ("s3://user:word@/", "names no folder"),
    ("s3://user:word@[b/x", "s3://...: is no URI; write it as s3://bucket/sweeps/demo"),
])  # fmt: skip
def test_what_names_no_place_is_said_in_a_line(uri, said):
    with pytest.raises(StoreError) as caught:
        opened(uri)
    (line,) = caught.value.messages
    assert said in line
    assert "word" not in line
    assert "\n" not in line


def test_a_store_that_refuses_is_said_in_a_line_that_names_the_mend(tmp_path, monkeypatch):
    place = local(tmp_path)

    class Refusing:
        type_name = "s3"

        def __getattr__(self, name):
            def refuse(*args, **more):
                raise OSError("When listing objects: AWS Error ACCESS_DENIED during ListObjectsV2 operation: no\nmore")

            return refuse

    refused = Place(Refusing(), "bucket/x", "s3://bucket/x")
    acts = [refused.listing, lambda: refused.marks(["x"]), lambda: refused.read("x"), lambda: refused.write("x", b""),
            lambda: refused.remove("x"), lambda: refused.remove_folder("x")]  # fmt: skip
    for act in acts:
        with pytest.raises(StoreError) as caught:
            act()
        (line,) = caught.value.messages
        assert line.startswith("s3://bucket/x: ")
        assert "ACCESS_DENIED" in line
        assert line.endswith("check the credentials and what they allow")
        assert "\n" not in line
    (tmp_path / "x").write_text("in the way")
    with pytest.raises(UserError, match="x/y cannot be written"):
        place.write("x/y", b"")


@pytest.mark.parametrize(("uri", "shown"), [
    ("s3://KEY:SECRET@bucket/a/b?region=x&endpoint_override=y", "s3://bucket/a/b"),
    ("gs://anonymous@bucket/a/", "gs://bucket/a"),
    ("abfss://container@account.dfs.core.windows.net/a?x=1", "abfss://container@account.dfs.core.windows.net/a"),
    ("file:///tmp/x", "file:///tmp/x"),
])  # fmt: skip
def test_secrets_are_not_shown(uri, shown):
    assert without_secrets(uri) == shown


def test_mirrors_are_apart_where_stores_are_and_one_where_they_are_not(monkeypatch, tmp_path):
    monkeypatch.setenv("SCALELAW_CACHE", str(tmp_path))
    one = mirror_of("s3://bucket/sweeps/demo")
    assert one.is_relative_to(tmp_path / "results")
    assert one.name.startswith("demo-")
    assert mirror_of("s3://bucket/sweeps/demo/") == one
    others = ["s3://other/sweeps/demo", "gs://bucket/sweeps/demo", "s3://bucket/sweeps/demo?endpoint_override=x"]
    assert len({one, *map(mirror_of, others)}) == 4
    monkeypatch.setattr("socket.gethostname", lambda: "another")
    assert mirror_of("s3://bucket/sweeps/demo") != one


def test_the_run_of_an_object():
    assert [run_of(name) for name in ("abc/row.parquet", "abc/trace/part-0", "sweep.json")] == ["abc", "abc", ""]


class Closing:
    """A store's filesystem as pyarrow's are: a stream that is closed makes an object of what it has, be that half."""

    type_name = "s3"

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    def delete_file(self, path: str) -> None:
        self.objects.pop(path, None)

    @contextmanager
    def open_output_stream(self, path: str, compression: None = None) -> Iterator[io.BytesIO]:
        stream = io.BytesIO()
        try:
            time.sleep(0.3)
            yield stream
        finally:
            self.objects[path] = stream.getvalue()


def test_a_signal_cuts_no_write():
    """A manifest that is written again when Ctrl-C comes is the one before or the new one, not half of it."""
    store = Closing()
    store.objects["bucket/manifest.json"] = b"before"

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    try:
        with pytest.raises(KeyboardInterrupt):
            Place(store, "bucket", "s3://bucket").write("manifest.json", b"after")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
    assert store.objects == {"bucket/manifest.json": b"after"}
