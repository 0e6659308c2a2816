"""Images in ArrayRecord files of tf.train.Example messages, as TensorFlow Datasets writes them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from scalelaw.dedup.sources import PART_IMAGES, File, Picture, fingerprint, key
from scalelaw.sweep.disk import example
from scalelaw.sweep.disk.base import in_threads
from scalelaw.sweep.disk.records import contents, count_of, end_of, opened

FEATURE = "image"


@dataclass(frozen=True)
class Stretch:
    """Neighbouring records of one file.

    Attributes:
        name: of the file, as images are named after it.
        feature: that holds the encoded image.
        first: record that it begins with.
    """

    path: Path
    name: str
    feature: str
    first: int
    images: int
    key: str

    @property
    def encoded(self) -> bool:
        """Always."""
        return True

    def pictures(self) -> Iterator[Picture]:
        """Record by record, named FILE:RECORD as training names them; a few in memory at a time.

        Raises:
            UserError: when the file cannot be opened.
        """
        found = contents(opened(str(self.path)), self.first, self.images)
        for row, record in enumerate(found, self.first):
            yield Picture(f"{self.name}:{row}", partial(_image, record, self.feature))


def _image(record: bytes | ValueError, feature: str) -> bytes:
    if isinstance(record, ValueError):
        raise record
    values = example.features(record, (feature,)).get(feature)
    if not values:
        raise ValueError(f"the record has no feature {feature!r}")
    if not isinstance(values[0], bytes):
        raise ValueError(f"{feature!r} is no bytes")
    return values[0]


def parts(root: Path, files: list[File], column: str | None) -> tuple[Stretch, ...]:
    """The images of ArrayRecord files, in order of files and records.

    Raises:
        UserError: when a file cannot be read.
    """
    counts = in_threads(lambda file: count_of(str(root / file.name)), files)
    feature, found = column or FEATURE, []
    for file, count in zip(files, counts, strict=True):
        path = root.absolute() / file.name
        for at in range(0, count, PART_IMAGES):
            facts = key("records", str(path), tuple(file), feature, at)
            found.append(Stretch(path, file.name, feature, at, min(PART_IMAGES, count - at), facts))
    return tuple(found)


def told_by(root: Path, files: list[File]) -> str:
    """SHA-256 of names, sizes and ends: equal for a copy of the files elsewhere."""
    digest = hashlib.sha256(fingerprint(files).encode())
    for file in files:
        digest.update(end_of(str(root / file.name)))
    return digest.hexdigest()
