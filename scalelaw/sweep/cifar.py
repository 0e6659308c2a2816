"""CIFAR-10 and CIFAR-100 in their official binary files: read whole, checked."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scalelaw.errors import UserError

SIDE, CHANNELS = 32, 3
PIXELS = SIDE * SIDE * CHANNELS


@dataclass(frozen=True)
class Kind:
    """One of the two: files, label bytes before an image (the last one counts), classes, usual folder."""

    train: tuple[str, ...]
    test: str
    label_bytes: int
    classes: int
    folder: str


KINDS = {
    "cifar10": Kind(tuple(f"data_batch_{k}.bin" for k in range(1, 6)), "test_batch.bin", 1, 10, "cifar-10-batches-bin"),
    "cifar100": Kind(("train.bin",), "test.bin", 2, 100, "cifar-100-binary"),
}


@dataclass(frozen=True, eq=False)
class Cifar:
    """The images of one folder.

    Attributes:
        images, labels: uint8 [n, 32, 32, 3] and [n], training images first, in the order of the files.
        counts: images of each file; those of the last are the official test images.
        classes: labels are 0 ... classes - 1.
        digest: SHA-256 of the files, one after the other.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    counts: tuple[int, ...]
    classes: int
    digest: str

    @property
    def train(self) -> int:
        """How many are training images."""
        return sum(self.counts[:-1])


def names(source: str, found: Cifar) -> Iterator[str]:
    """The images' names, FILE:NUMBER."""
    kind = KINDS[source]
    for file, count in zip((*kind.train, kind.test), found.counts, strict=True):
        yield from (f"{file}:{number}" for number in range(count))


def read(source: str, path: str) -> Cifar:
    """Reads a folder's files; the last one read is kept in memory.

    Args:
        source: cifar10 or cifar100 (its 100 fine labels).
        path: the folder of the binary files, or the one that it was unpacked in.

    Raises:
        UserError: when a file is missing or is no such file.
    """
    kind = KINDS[source]
    folder = next((place for place in (path, os.path.join(path, kind.folder))
                   if os.path.exists(os.path.join(place, kind.test))), path)  # fmt: skip
    files = [os.path.join(folder, name) for name in (*kind.train, kind.test)]
    facts = []
    wrong = []
    record = kind.label_bytes + PIXELS
    for name in files:
        try:
            facts.append(os.stat(name))
        except OSError as error:
            wrong.append(
                f"[data] path: {name} cannot be read ({error.strerror}); unpack the official binary version there"
            )
            continue
        if not facts[-1].st_size or facts[-1].st_size % record:
            wrong.append(f"{name}: has {facts[-1].st_size} bytes, no number of records of {record}; unpack "
                         "the official binary version again")  # fmt: skip
    if wrong:
        raise UserError(*wrong)
    return _read(source, tuple(files), tuple((fact.st_mtime_ns, fact.st_size) for fact in facts))


@functools.lru_cache(maxsize=1)
def _read(source: str, files: tuple[str, ...], _: Any) -> Cifar:
    kind = KINDS[source]
    total = hashlib.sha256()
    parts = []
    for name in files:
        try:
            with open(name, "rb") as file:
                content = file.read()
        except OSError as error:
            raise UserError(f"[data] path: {name} cannot be read ({error.strerror})") from error
        total.update(content)
        parts.append(np.frombuffer(content, np.uint8).reshape(-1, kind.label_bytes + PIXELS))
        labels = parts[-1][:, kind.label_bytes - 1]
        if labels.max() >= kind.classes:
            row = int(np.argmax(labels >= kind.classes))
            raise UserError(f"{name}, record {row}: label {labels[row]}; {source} has {kind.classes} classes, unpack "
                            "the official binary version again")  # fmt: skip
    rows = np.concatenate(parts)
    images = rows[:, kind.label_bytes :].reshape(-1, CHANNELS, SIDE, SIDE).transpose(0, 2, 3, 1)
    labels, counts = rows[:, kind.label_bytes - 1].copy(), tuple(map(len, parts))
    return Cifar(np.ascontiguousarray(images), labels, counts, kind.classes, total.hexdigest())
