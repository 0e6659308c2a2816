"""A place in an object store: the few things one can do there, each with an error that a person can mend.

Any filesystem of pyarrow: s3://, gs://, abfss://, hdfs://, file://. What is written is whole or absent: object stores
show an object when it is complete; elsewhere it is written aside and renamed.
"""

from __future__ import annotations

import re
import tempfile
import urllib.parse
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import pyarrow as pa

from scalelaw.errors import UserError
from scalelaw.runs import files

T = TypeVar("T")
R = TypeVar("R")
Mark = tuple[int, int]
"""Time of the last change in ns, by the store's clock, and size in bytes: differs when an object was written again."""

SCHEMES = "s3://, gs://, abfss://, hdfs://, file:///"
REQUESTS_AT_ONCE = 16
_LISTINGS = 3  # tries, when folders vanish under way
_OPTIONS = {
    "gs": "retry_limit_seconds=15",  # its own default is a quarter of an hour, in which nothing is said
    "s3": "allow_delayed_open=true",  # small objects take one request, not three
}
_NO_SECRETS = ("endpoint_override", "region", "scheme")
_BUFFER_BYTES = 8 << 20  # of a stream: one request each
_WHOLE_OBJECTS = ("s3", "gcs", "abfs")
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_MENDS = {
    r"ACCESS_DENIED|credential|token|[Aa]uth|Permission|INVALID_ACCESS_KEY|SIGNATURE": "check the credentials and what "
    "they allow",
    r"NO_SUCH_BUCKET|[Bb]ucket.*not exist|ContainerNotFound": "make the bucket, or mend its name",
    r"NETWORK|[Rr]esolv|[Cc]onnect|UNAVAILABLE|Timeout|timed out": "check the network and the name",
    r"No space|Quota": "free some space",
    r"libjvm|libhdfs": "install Java and Hadoop's libraries, and set JAVA_HOME and HADOOP_HOME",
}


class StoreError(UserError):
    """The store does not do what it is asked; the network may be away for a moment."""


def is_uri(path: object) -> bool:
    """Whether this names a place in a store and not a path on disk."""
    return _URI.match(str(path)) is not None


def opened(uri: str) -> Place:
    """The place that a URI names.

    Raises:
        StoreError: when it is none, the scheme is unknown, or the store cannot be reached for its region.
    """
    from pyarrow import fs

    try:
        shown, parts = without_secrets(uri), urllib.parse.urlsplit(uri)
    except ValueError as error:
        scheme = uri.partition("://")[0]
        raise StoreError(f"{scheme}://...: is no URI; write it as s3://bucket/sweeps/demo") from error  # no secrets
    if not (parts.netloc.rpartition("@")[2] + parts.path).strip("/"):
        raise StoreError(f"{shown}: names no folder; add its path, as s3://bucket/sweeps/demo")
    asked = uri.rstrip("/")
    more = _OPTIONS.get(parts.scheme, "")
    if more and more.split("=")[0] not in parts.query:
        asked += f"{'&' if parts.query else '?'}{more}"
    try:
        filesystem, root = fs.FileSystem.from_uri(asked)
    except (OSError, ValueError, ImportError, pa.ArrowException) as error:
        if "Unrecognized filesystem" in str(error) or isinstance(error, ImportError):
            raise StoreError(f"{shown}: is of no known kind; folders are named by a path or by {SCHEMES}") from error
        raise StoreError(f"{shown}: cannot be opened ({_why(error)}); {_mend(error)}") from error
    return Place(filesystem, root, shown)


@dataclass(frozen=True)
class Place:
    """A folder in a store; names are relative to it, with slashes.

    Every method raises `StoreError` when the store refuses or cannot be reached.

    Attributes:
        filesystem: pyarrow's.
        root: of the folder, as the filesystem names it.
        shown: its URI without credentials, for people.
    """

    filesystem: Any
    root: str
    shown: str

    def listing(self, under: str = "", *, recursive: bool = True) -> dict[str, Mark]:
        """Every object below a folder, a thousand of them a request; empty when there is no such folder."""
        from pyarrow import fs

        selector = fs.FileSelector(self._path(under).rstrip("/"), allow_not_found=True, recursive=recursive)
        with self._said("cannot be listed"):
            for attempt in range(_LISTINGS):
                try:
                    found = self.filesystem.get_file_info(selector)
                    break
                except FileNotFoundError:  # a folder was removed while it was looked through
                    if attempt + 1 == _LISTINGS:
                        raise
        start = len(self._path(""))
        names = {info.path[start:]: info for info in found if info.is_file or not recursive}
        return {name: _mark(info) for name, info in names.items() if not any(
            part.startswith(".") for part in name.split("/"))}  # fmt: skip

    def has_bucket(self) -> bool:
        """Whether the bucket is there; true where there are no buckets."""
        if not self._shows_whole_objects():
            return True
        with self._said("cannot be read"):
            return bool(self.filesystem.get_file_info(self.root.strip("/").split("/")[0]).type)

    def marks(self, names: Iterable[str]) -> dict[str, Mark]:
        """Those of some objects that are there."""
        asked = list(names)
        with self._said("cannot be read"):
            infos = self.filesystem.get_file_info([self._path(name) for name in asked])
        return {name: _mark(info) for name, info in zip(asked, infos, strict=True) if info.is_file}

    def read(self, name: str) -> bytes | None:
        """An object's bytes, None when there is none."""
        found = self.buffer(name)
        return None if found is None else bytes(found.to_pybytes())

    def buffer(self, name: str) -> pa.Buffer | None:
        """An object in memory of Arrow's, None when there is none."""
        with self._said(f"{name} cannot be read"):
            try:
                with self.filesystem.open_input_file(self._path(name)) as file:  # all of it in one request
                    return file.read_buffer()
            except FileNotFoundError:
                return None

    @contextmanager
    def reading(self, name: str) -> Iterator[Any]:
        """An object as a stream."""
        with (
            self._said(f"{name} cannot be read"),
            self.filesystem.open_input_stream(self._path(name), compression=None, buffer_size=_BUFFER_BYTES) as stream,
        ):
            yield stream

    def write(self, name: str, content: bytes) -> None:
        """Writes an object, whole or not at all; until then one of that name stays as it was.

        In a thread, for a signal must not end it half-way: a stream that is let go makes an object of what it has.
        """

        def act() -> None:
            with self.writing(name) as stream:
                stream.write(content)

        with ThreadPoolExecutor(1) as one:
            one.submit(act).result()

    @contextmanager
    def writing(self, name: str) -> Iterator[Any]:
        """A stream whose bytes are the object when the block ends; in a store, when it raises there is none then."""
        path = aside = self._path(name)
        with self._said(f"{name} cannot be written"):
            if not self._shows_whole_objects():
                folder, _, last = path.rpartition("/")
                aside = f"{folder}/.{last}.{uuid4().hex[:8]}"
                self.filesystem.create_dir(folder, recursive=True)
            try:
                with self.filesystem.open_output_stream(aside, compression=None) as stream:
                    yield stream
                if aside != path:
                    self.filesystem.move(aside, path)
            except BaseException:  # closing may have made an object of the half that was written
                with suppress(OSError, pa.ArrowException):
                    self.filesystem.delete_file(aside)
                raise

    def remove(self, name: str) -> None:
        """Removes an object, if it is there."""
        with self._said(f"{name} cannot be removed"), suppress(FileNotFoundError):
            self.filesystem.delete_file(self._path(name))

    def remove_folder(self, name: str) -> None:
        """Removes every object below a folder, if there are any."""
        with self._said(f"{name} cannot be removed"), suppress(FileNotFoundError):
            self.filesystem.delete_dir(self._path(name))

    def _path(self, name: str) -> str:
        return f"{self.root.rstrip('/')}/{name}"

    def _shows_whole_objects(self) -> bool:
        filesystem = self.filesystem
        while filesystem.type_name == "subtree":
            filesystem = filesystem.base_fs
        return filesystem.type_name in _WHOLE_OBJECTS

    @contextmanager
    def _said(self, what: str) -> Iterator[None]:
        try:
            yield
        except (OSError, pa.ArrowException) as error:
            raise StoreError(f"{self.shown}: {what} ({_why(error)}); {_mend(error)}") from error


@contextmanager
def fetched(uri: str) -> Iterator[Path]:
    """One object as a file of its name on disk, for as long as the block lasts.

    Raises:
        StoreError: when it cannot be read.
        UserError: when there is none.
    """
    place = opened(uri)
    folder, _, name = place.root.rpartition("/")
    content = Place(place.filesystem, folder, place.shown).read(name)
    if content is None:
        raise UserError(f"{place.shown}: no such file; give a results folder, a .parquet or a .csv file")
    with tempfile.TemporaryDirectory(prefix="scalelaw-") as aside:
        path = Path(aside) / name
        path.write_bytes(content)
        yield path


def at_once(act: Callable[[T], R], things: Iterable[T]) -> list[R]:
    """What `act` answers for each, in order; many requests under way at a time."""
    with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
        return list(pool.map(act, things))


def run_of(name: str) -> str:
    """The run that an object belongs to: its first folder; empty for what lies beside the runs."""
    return name.split("/", 1)[0] if "/" in name else ""


def _mark(info: Any) -> Mark:
    return (info.mtime_ns if info.mtime_ns is not None else -1, info.size if info.size is not None else -1)


def without_secrets(uri: str, *, query: bool = False) -> str:
    """A URI for people: no user, no password; of the query, when it is asked for, what says which store that is."""
    parts = urllib.parse.urlsplit(uri)
    host = parts.netloc if parts.scheme == "abfss" else parts.netloc.rpartition("@")[2]
    known = "&".join(word for word in parts.query.split("&") if word.split("=")[0] in _NO_SECRETS) if query else ""
    return urllib.parse.urlunsplit((parts.scheme, host, parts.path.rstrip("/"), known, ""))


def _why(error: Exception) -> str:
    """The cause in one line; clouds' libraries go on for pages."""
    text = files.reason(error)
    return f"{text[:240]}..." if len(text) > 240 else text


def _mend(error: Exception) -> str:
    return next((mend for words, mend in _MENDS.items() if re.search(words, str(error))), "mend that, or name another "
                "folder")  # fmt: skip
