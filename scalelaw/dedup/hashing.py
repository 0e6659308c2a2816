"""Thumbnails of all images of a path: made once, kept in parts on disk, so that a killed command goes on."""

from __future__ import annotations

import hashlib
import multiprocessing
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from scalelaw.dedup import decode
from scalelaw.dedup.sources import Listing, Part, Picture
from scalelaw.dedup.thumbnails import SIDE, Thumbnails, thumbnails
from scalelaw.errors import UserError
from scalelaw.runs import files

VERSION = 2
"""Of a part's content; another number makes every part anew."""
SCHEMA = pa.schema({
    "name": pa.binary(),  # a file's name is any bytes
    "error": pa.string(),
    "digest": pa.binary(16),
    "thumbnail": pa.binary(SIDE * SIDE),
})  # fmt: skip
Each = Callable[[int], object]


class CorruptImage(NamedTuple):
    """An image that cannot be read, and why."""

    name: str
    reason: str


@dataclass(frozen=True, eq=False)
class Kept:
    """The thumbnails of a path's images, on disk.

    Attributes:
        listing: where the images are.
        parts: a Parquet file for each part of the listing.
        start: (parts + 1,) index of each part's first image, and the number of images.
        digests: (images, 2) of each image's bytes, or of its pixels where there are no others; 0 where corrupt.
        corrupt: (images,) whether each could not be read.
        mistakes: those that could not, in order.
    """

    listing: Listing
    parts: tuple[Path, ...]
    start: NDArray[np.int64]
    digests: NDArray[np.uint64]
    corrupt: NDArray[np.bool_]
    mistakes: tuple[CorruptImage, ...]

    def __len__(self) -> int:
        return len(self.corrupt)

    def thumbnails(self) -> Iterator[tuple[int, Thumbnails]]:
        """Part by part: the first index, and (n, 32, 32); zeros for corrupt images."""
        for first, path in zip(self.start, self.parts, strict=False):
            yield int(first), _pixels(pq.read_table(path, columns=["thumbnail"])["thumbnail"])

    def some(self, indices: NDArray[np.int64]) -> Thumbnails:
        """(n, 32, 32): the thumbnails of some images, given by ascending indices."""
        found = np.zeros((len(indices), SIDE, SIDE), np.uint8)
        bounds = np.searchsorted(indices, self.start)
        for k, path in enumerate(self.parts):
            low, high = bounds[k], bounds[k + 1]
            if low < high:
                column = pq.read_table(path, columns=["thumbnail"])["thumbnail"]
                found[low:high] = _pixels(column)[indices[low:high] - self.start[k]]
        return found

    def names(self, indices: NDArray[np.int64]) -> dict[int, str]:
        """What images are called, by their index; bytes that are no UTF-8 as surrogates, as Python names files."""
        wanted = np.unique(indices)
        found: dict[int, str] = {}
        bounds = np.searchsorted(wanted, self.start)
        for k, path in enumerate(self.parts):
            mine = wanted[bounds[k] : bounds[k + 1]]
            if len(mine):
                names = pq.read_table(path, columns=["name"])["name"].take(pa.array(mine - self.start[k])).to_pylist()
                texts = (name.decode("utf-8", "surrogateescape") for name in names)
                found.update(zip(mine.tolist(), texts, strict=True))
        return found


def keep(listing: Listing, cache: Path, *, workers: int, each: Each = lambda images: None) -> Kept:
    """Makes the thumbnails of all images, those parts that `cache` does not hold yet.

    Args:
        listing: of the images.
        cache: folder for the parts, about a kilobyte an image.
        workers: processes that decode.
        each: gets the number of images of every part as it is done or found.

    Raises:
        UserError: when a part cannot be written, or a file breaks off.
    """
    paths = tuple(cache / f"v{VERSION}-{part.key}.parquet" for part in listing.parts)
    missing = []
    for part, path in zip(listing.parts, paths, strict=True):
        if path.exists():
            each(part.images)
        else:
            missing.append((part, path))
    if any(part.encoded for part, _ in missing):
        decode.require()
    if workers > 1 and sum(part.encoded for part, _ in missing) > 1:
        _with_processes(missing, workers, each)
    else:
        for part, path in missing:
            each(make(part, path))
    return _load(listing, paths)


def _with_processes(missing: list[tuple[Part, Path]], workers: int, each: Each) -> None:
    method = multiprocessing.get_context("spawn")  # a forked child of a process with threads may hang
    pool = ProcessPoolExecutor(min(workers, len(missing)), method, _deaf)
    try:
        jobs = [pool.submit(make, part, path) for part, path in missing]
        for job in as_completed(jobs):
            each(job.result())
    except BrokenProcessPool as error:
        raise UserError("a process that decodes images was killed, perhaps for memory; ask for fewer with --workers, "
                        "and the same command goes on") from error  # fmt: skip
    finally:
        pool.shutdown(cancel_futures=True)


def _deaf() -> None:
    """A terminal interrupts the whole group; the parent decides."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def make(part: Part, path: Path) -> int:
    """Makes one part's file, whole or not at all. Returns its number of images."""
    rows = [_row(picture) for picture in part.pictures()]
    columns = list(zip(*rows, strict=True))
    arrays = [pa.array(values, field.type) for values, field in zip(columns, SCHEMA, strict=True)]
    files.write_parquet(path, pa.table(arrays, schema=SCHEMA))
    return len(rows)


def _row(picture: Picture) -> tuple[bytes, str | None, bytes | None, bytes | None]:
    name = picture.name.encode("utf-8", "surrogateescape")
    try:
        content = picture.read()
        if isinstance(content, bytes):
            thumb, raw = decode.thumbnail(content), content
        else:
            thumb, raw = thumbnails(content[None])[0], np.ascontiguousarray(content).tobytes()
    except OSError as error:
        return name, f"cannot be read ({files.reason(error)})", None, None
    except ValueError as error:
        return name, next(iter(str(error).splitlines()), type(error).__name__), None, None
    return name, None, hashlib.blake2b(raw, digest_size=16).digest(), thumb.tobytes()


def _load(listing: Listing, paths: tuple[Path, ...]) -> Kept:
    """The parts' digests and errors; a part that cannot be read is removed and named."""
    start = np.zeros(len(paths) + 1, np.int64)
    digests, corrupt, mistakes = [], [], []
    for k, path in enumerate(paths):
        try:
            table = pq.read_table(path, columns=["name", "error", "digest"])
        except (OSError, pa.ArrowException) as error:
            path.unlink(missing_ok=True)
            raise UserError(f"{path}: is damaged and has been removed ({files.reason(error)}); the same command makes "
                            "it again") from error  # fmt: skip
        start[k + 1] = start[k] + len(table)
        wrong = np.asarray(table["error"].is_valid())
        corrupt.append(wrong)
        digests.append(_bytes(table["digest"], 16).view(np.uint64))
        for row in np.flatnonzero(wrong):
            name = table["name"][row].as_py().decode("utf-8", "replace")
            mistakes.append(CorruptImage(name, table["error"][row].as_py()))
    return Kept(
        listing,
        paths,
        start,
        np.concatenate([np.zeros((0, 2), np.uint64), *digests]),
        np.concatenate([np.zeros(0, bool), *corrupt]),
        tuple(mistakes),
    )


def _pixels(column: pa.ChunkedArray) -> Thumbnails:
    return _bytes(column, SIDE * SIDE).reshape(-1, SIDE, SIDE)


def _bytes(column: pa.ChunkedArray, width: int) -> NDArray[np.uint8]:
    """(n, width) bytes; zeros for nulls."""
    filled = column.fill_null(bytes(width)).combine_chunks()
    if isinstance(filled, pa.ChunkedArray):
        filled = pa.concat_arrays(filled.chunks) if filled.num_chunks else pa.array([], column.type)
    raw = np.frombuffer(filled.buffers()[1], np.uint8) if len(filled) else np.zeros(0, np.uint8)
    return raw[filled.offset * width : (filled.offset + len(filled)) * width].reshape(-1, width)
