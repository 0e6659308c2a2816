"""Images kept as plain pixels: NumPy archives and CIFAR's binary files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scalelaw.dedup.sources import PART_IMAGES, File, Picture, key
from scalelaw.errors import UserError
from scalelaw.runs.files import reason

CIFAR_PIXELS = 3 * 32 * 32
CIFAR_RECORDS = (1 + CIFAR_PIXELS, 2 + CIFAR_PIXELS)
"""Bytes of an image with its labels in CIFAR-10 and in CIFAR-100."""


@dataclass(frozen=True)
class Rows:
    """A stretch of the images of one file, named by their number in it, from 0.

    Attributes:
        name: what stands before the number: nothing in an archive.
        record: bytes of an image with its labels in a CIFAR file, 0 in an archive.
    """

    path: Path
    name: str
    first: int
    images: int
    record: int
    key: str

    @property
    def encoded(self) -> bool:
        """They are pixels already."""
        return False

    def pictures(self) -> Iterator[Picture]:
        """In order."""
        facts = self.path.stat()
        pixels, low, high = _pixels(self.path, self.record, facts.st_size, facts.st_mtime_ns)
        for row in range(self.first, self.first + self.images):
            yield Picture(f"{self.name}{row}", partial(_image, pixels, row, low, high))


def _image(pixels: NDArray[Any], row: int, low: float, high: float) -> NDArray[Any]:
    image = np.asarray(pixels[row])
    if (low, high) == (0, 255):
        return image
    if not np.isfinite(image).all():
        raise ValueError("has values that are not finite")
    return (image.astype(np.float32) - low) * (255 / max(high - low, 1e-9))


@lru_cache(maxsize=1)
def _pixels(path: Path, record: int, *_: int) -> tuple[NDArray[Any], float, float]:
    """(n, height, width[, channels]) and the values that are black and white."""
    if record:
        rows: NDArray[Any] = np.memmap(path, np.uint8, "r").reshape(-1, record)[:, record - CIFAR_PIXELS :]
        return rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), 0, 255
    pixels = _read_archive(path)
    if pixels.dtype == np.uint8:
        return pixels, 0, 255
    finite = pixels[np.isfinite(pixels)] if pixels.dtype.kind == "f" else pixels
    return pixels, float(finite.min(initial=np.inf)), float(finite.max(initial=-np.inf))


def _read_archive(path: Path) -> NDArray[Any]:
    """The images of an archive, unpickling nothing."""
    try:
        with np.load(path, allow_pickle=False) as found:
            if isinstance(found, np.ndarray) or "images" not in found.files:
                raise UserError(f"{path}: has no 'images'; write it with np.savez(path, images=...)")
            images: NDArray[Any] = found["images"]
    except UserError:
        raise
    except Exception as error:  # zipfile, zlib and NumPy raise a dozen kinds
        raise UserError(f"{path}: is not a whole NumPy archive ({reason(error)}); write it with np.savez") from error
    if images.dtype.kind not in "uif" or images.ndim not in (3, 4) or images.shape[3:] not in ((), (1,), (3,)):
        raise UserError(f"{path}: 'images' is {images.dtype} {list(images.shape)}; save numbers, [n, height, width] or "
                        "[n, height, width, 3]")  # fmt: skip
    if 0 in images.shape:
        raise UserError(f"{path}: 'images' is empty, {list(images.shape)}; save at least one image")
    return images


def archive(path: Path, file: File) -> tuple[Rows, ...]:
    """The images of a NumPy archive, [n, height, width] or with channels, of any range: the least is black.

    Raises:
        UserError: when it cannot be read.
    """
    images = len(_pixels(path.absolute(), 0, file.size, file.changed)[0])
    return tuple(_stretches(path.absolute(), "", images, 0, file))


def is_cifar(file: File) -> bool:
    """Whether a file is one of CIFAR's: .bin, and a whole number of records, not none."""
    return file.name.endswith(".bin") and file.size > 0 and any(file.size % record == 0 for record in CIFAR_RECORDS)


def cifar(root: Path, files: list[File]) -> tuple[Rows, ...]:
    """The images of CIFAR-10's or CIFAR-100's files, named FILE:NUMBER, as training names those of one folder."""
    found: list[Rows] = []
    alone = len({Path(file.name).parent for file in files}) == 1
    for file in files:
        record = next(record for record in CIFAR_RECORDS if file.size % record == 0)
        path = root.absolute() / file.name
        name = path.name if alone else file.name
        found += _stretches(path, f"{name}:", file.size // record, record, file)
    return tuple(found)


def _stretches(path: Path, name: str, images: int, record: int, file: File) -> Iterator[Rows]:
    for at in range(0, images, PART_IMAGES):
        facts = key("pixels", str(path), name, tuple(file), at)
        yield Rows(path, name, at, min(PART_IMAGES, images - at), record, facts)
