"""The labels of ArrayRecord files, read when runs are planned: a label that is no class shows before anything is made.

Labels lie beside the images, so whole files are read. What is remembered of a file, in the user's cache, are the few
records that decide for any number of classes: those whose label is above all before, and the first one below 0.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import time
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from scalelaw.errors import UserError
from scalelaw.runs import files
from scalelaw.sweep.disk.base import LISTING_THREADS, LONG_SECONDS, MAX_CLASSES, size_of
from scalelaw.sweep.disk.records import Records, contents
from scalelaw.text import clock

VERSION = 1
"""Of what is remembered; another number reads every file anew."""
STRETCH = 256  # records read by one thread before another takes over
Deciding = list[tuple[int, int]]
"""(record of the file, label), in the order of the records."""
_known: dict[str, Deciding] = {}  # for a process that may not write the cache


def check(images: Records, left_out: Collection[int] = ()) -> None:
    """Reads every label, but those of files that were read before, and compares them with the number of classes.

    A record that cannot be read is passed over: training takes another in its place and counts it.

    Args:
        left_out: rows that nothing is to read, passed over too. What is remembered of a whole file serves whatever is
            left out, but where one of those is the first that is no class.

    Raises:
        UserError: naming the first record whose label is none of the classes, or which lacks a feature.
    """
    without = _by_file(images, left_out)
    keys, found = {}, {}
    for file in range(len(images.files)):
        keys[file] = _key(images, file)
        known = _remembered(keys[file])
        if without[file] and (known is None or _first_misfit(images, known) in without[file]):
            keys[file] = _key(images, file, without[file])
            known = _remembered(keys[file])
        if known is not None:
            found[file] = known
    unknown = [file for file in keys if file not in found]
    for file, deciding in _read(images, unknown, without):
        found[file] = deciding
        _remember(keys[file], deciding)
    for file in sorted(found):
        for record, label in found[file]:
            if not 0 <= label < images.classes:
                row = int(images.starts[file]) + record
                raise UserError(f"[data] classes: {images.misfit(row, label)}; {_mend(label)}")


def _by_file(images: Records, rows: Collection[int]) -> list[frozenset[int]]:
    """The records of every file that are among some rows."""
    ordered = np.sort(np.fromiter(rows, np.int64, len(rows)))
    ends = np.searchsorted(ordered, images.starts)
    return [frozenset((ordered[ends[file] : ends[file + 1]] - images.starts[file]).tolist())
            for file in range(len(images.files))]  # fmt: skip


def _first_misfit(images: Records, deciding: Deciding) -> int | None:
    """The first record of a file whose label is none of the classes."""
    return next((record for record, label in deciding if not 0 <= label < images.classes), None)


def _mend(label: int) -> str:
    if label < 0:
        return "leave out images without a label"
    return f"set classes = {label + 1} or more, or mend the label" if label < MAX_CLASSES else "mend the label"


def deciding_of(labels: Iterable[tuple[int, int]]) -> Deciding:
    """Of records and labels those that are the first to fit no class, for some number of classes."""
    kept: Deciding = []
    most, negative = -1, False
    for record, label in labels:
        if most < label and most < MAX_CLASSES:
            most = label
        elif label < 0 and not negative:
            negative = True
        else:
            continue
        kept.append((record, label))
    return kept


def _read(images: Records, wanted: list[int], without: list[frozenset[int]]) -> Iterator[tuple[int, Deciding]]:
    """Files with what decides of each, in order; by threads, which wait for the disk, a stretch of a file each."""
    counts = [int(images.starts[file + 1] - images.starts[file]) for file in wanted]
    jobs = [(file, at, min(STRETCH, count - at))
            for file, count in zip(wanted, counts, strict=True) for at in range(0, count, STRETCH)]  # fmt: skip
    for file, count in zip(wanted, counts, strict=True):
        if not count:
            yield file, []

    def stretch(job: tuple[int, int, int]) -> Deciding:
        file, at, count = job
        return _stretch(images, file, range(at, at + count), without[file])

    began, done, said, parts = time.monotonic(), 0, False, []
    with ThreadPoolExecutor(min(LISTING_THREADS, len(jobs)) or 1) as pool:
        for job, part in zip(jobs, pool.map(stretch, jobs), strict=True):
            file, at, count = job
            parts += part
            done += count
            if at + count == images.starts[file + 1] - images.starts[file]:
                yield file, deciding_of(parts)
                parts = []
            passed = time.monotonic() - began
            left = passed * (sum(counts) - done) / done
            if not said and min(passed, left) > LONG_SECONDS:
                said = True
                size = sum(size_of(os.path.join(images.root, images.files[file])) for file in wanted)
                print(f"scalelaw: {images.path}: reading the labels of {sum(counts):,} records, {size / 1e9:.3g} GB "
                      f"with their images, once; about {clock(left)} to go", file=sys.stderr)  # fmt: skip


def _stretch(images: Records, file: int, within: range, passed: frozenset[int]) -> Deciding:
    def labels() -> Iterator[tuple[int, int]]:
        for inside, record in enumerate(contents(images.reader(file), within.start, len(within)), within.start):
            if inside in passed:
                continue
            try:
                yield inside, images.parsed(int(images.starts[file]) + inside, record)[1]
            except UserError:
                raise
            except ValueError:
                continue

    return deciding_of(labels())


def _key(images: Records, file: int, passed: frozenset[int] = frozenset()) -> str:
    """What a file's labels are remembered by: they are read anew when its size or time of change does not agree.

    Args:
        passed: records that were passed over.
    """
    path = os.path.abspath(os.path.join(images.root, images.files[file]))
    facts = os.stat(path)
    told = repr((VERSION, path, facts.st_size, facts.st_mtime_ns, images.image_key, images.label_key, *sorted(passed)))
    return hashlib.sha256(told.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def _cached(key: str) -> Path:
    return files.user_cache("labels") / f"{key}.json"


def _remembered(key: str) -> Deciding | None:
    if key in _known:
        return _known[key]
    try:
        found = json.loads(_cached(key).read_text(encoding="utf-8"))
        records, labels = found["records"], found["labels"]
        if len(records) == len(labels) and all(type(number) is int for number in [*records, *labels]):
            return list(zip(records, labels, strict=True))
    except (OSError, RuntimeError, ValueError, TypeError, KeyError):  # RuntimeError: nobody's home
        pass
    return None


def _remember(key: str, deciding: Deciding) -> None:
    _known[key] = deciding
    records, labels = [record for record, _ in deciding], [label for _, label in deciding]
    with contextlib.suppress(UserError, RuntimeError):  # then every plan reads them
        files.write_json(_cached(key), {"records": records, "labels": labels})
