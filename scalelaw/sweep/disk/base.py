"""What every kind of image files offers: rows that can be counted, named and read one by one."""

from __future__ import annotations

import hashlib
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scalelaw.errors import UserError

MAX_IMAGES = 2**31 - 1  # an index is an int32
MAX_CLASSES = 2**16
LONG_SECONDS = 1.0  # of reading, from which on it is worth keeping what was found
LISTING_THREADS = 16  # listing waits for the disk, most of all where that is a network's
HIDDEN = (".", "_")  # files beginning so are a system's or a program's notes, as for every other reader of such folders


class ImageSet(ABC):
    """Encoded images with labels, rows 0 ... count - 1 in an order that only the files decide.

    Attributes:
        path: where they lie.
        count: rows.
        class_names: names of labels 0, 1, ..., where the files have them.
        classes: labels are 0 ... classes - 1.
        digest: SHA-256 that changes with the files, but not with the place where they lie.
    """

    path: str
    count: int
    classes: int
    class_names: tuple[str, ...] | None
    digest: str

    @abstractmethod
    def name(self, row: int) -> str:
        """What a person calls the image; relative to `path`, and no other row's."""

    @abstractmethod
    def read(self, row: int) -> tuple[bytes, int]:
        """The encoded image and its label. May be called from several threads at once.

        Raises:
            OSError, ValueError: when this image cannot be read; others may be fine.
            UserError: when the files are not what was listed.
        """

    def names(self) -> Iterable[str]:
        """The names of all rows, in order."""
        return map(self.name, range(self.count))


def files_at(path: str, ending: re.Pattern[str], what: str) -> tuple[str, list[str]]:
    """The same as `found_at`.

    Raises:
        UserError: when there are none.
    """
    root, names = found_at(path, ending)
    if not names:
        wrong = "holds no such file" if is_pattern(path) or os.path.exists(path) else "is not there"
        raise UserError(f"[data] path: {path} {wrong}; name {what}, a folder of them or a pattern with *")
    return root, names


def is_pattern(path: str) -> bool:
    """Whether a path could stand for several files."""
    return any(mark in path for mark in "*?[")


def found_at(path: str, ending: re.Pattern[str]) -> tuple[str, list[str]]:
    """Files at a place: a file, a folder (looked through to its leaves for names that match) or a glob.

    Returns:
        The folder that names are relative to, and the files' names, sorted, with / between folders.

    Raises:
        UserError: for a pattern that is none.
    """
    place = Path(path)
    if place.is_file():
        return str(place.parent), [place.name]
    if place.is_dir():
        found = [file for file in place.rglob("*") if ending.search(file.name) and file.is_file()
                 and not any(folder.startswith(HIDDEN) for folder in file.relative_to(place).parts)]  # fmt: skip
        root = place
    else:
        fixed = place.parts
        first = next((k for k, part in enumerate(fixed) if is_pattern(part)), len(fixed))
        if first == len(fixed):
            return str(place.parent), []
        root = Path(*fixed[:first]) if first else Path(".")
        try:
            found = [file for file in root.glob(str(Path(*fixed[first:]))) if file.is_file()]
        except ValueError as error:
            said = f"{path} is no pattern ({str(error).removeprefix('Invalid pattern: ')})"
            raise UserError(f"[data] path: {said}; write /**/* for all below a folder") from error
    return str(root), sorted(file.relative_to(root).as_posix() for file in found if not file.name.startswith(HIDDEN))


def digest_of(parts: Iterable[Any]) -> str:
    """SHA-256 of a sequence of texts, numbers or bytes, each told from the next."""
    total = hashlib.sha256()
    for part in parts:
        content = part if isinstance(part, bytes) else str(part).encode("utf-8", "surrogateescape")
        total.update(b"%d:" % len(content))
        total.update(content)
    return total.hexdigest()


def in_threads(work: Any, items: Sequence[Any]) -> list[Any]:
    """[work(item) for item in items] by several threads; the first error in their order is raised."""
    if len(items) < 2:
        return [work(item) for item in items]
    with ThreadPoolExecutor(LISTING_THREADS) as pool:
        return list(pool.map(work, items))


def numbered(
    words: NDArray[Any], missing: NDArray[np.bool_], known: tuple[str, ...] | None
) -> tuple[NDArray[np.int32], tuple[str, ...]]:
    """Labels (int32) of words, numbered by `known`, or in the order of the alphabet; -1 where missing or not known."""
    names = known if known is not None else tuple(sorted(set(words[~missing].tolist())))
    number = {name: k for k, name in enumerate(names)}
    labels = np.array([number.get(word, -1) for word in words.tolist()], np.int32)
    return np.where(missing, np.int32(-1), labels), names


def agreed(path: str, noted: set[tuple[str, ...] | None]) -> tuple[str, ...] | None:
    """The one list of names, None where no file has one.

    Raises:
        UserError: when the files, or the training images and these, number their classes differently.
    """
    if len(noted) > 1:
        one, other = sorted(filter(None, noted))[:2]
        at = next(
            (k for k, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), min(len(one), len(other))
        )
        raise UserError(
            f"{path}: label {at} has different names in different files; write all files with the same classes"
        )
    return next(iter(noted), None)


def too_many(path: str, count: int) -> None:
    """Refuses more images than an index can count.

    Raises:
        UserError: then.
    """
    if count > MAX_IMAGES:
        raise UserError(f"{path}: {count:,} images; at most {MAX_IMAGES:,} can be counted, train on a part of them")


def size_of(path: str) -> int:
    """Bytes of a file."""
    return os.stat(path).st_size
