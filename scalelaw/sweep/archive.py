"""A NumPy archive of images and labels on disk: read whole, checked, nothing unpickled."""

from __future__ import annotations

import functools
import hashlib
import io
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scalelaw.errors import UserError
from scalelaw.sweep.disk.base import MAX_CLASSES

UNREADABLE = (
    OSError,
    ValueError,
    EOFError,
    KeyError,
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    NotImplementedError,  # zipfile's word for a compression or an encryption that it does not know
)


@dataclass(frozen=True, eq=False)
class Archive:
    """A checked archive.

    Attributes:
        images: numbers [n, side, side, channels], 1 or 3 channels.
        labels: integers [n]; `misfit` says whether those of the images that are used number classes from 0.
        digest: SHA-256 of the file.
    """

    images: NDArray[Any]
    labels: NDArray[Any]
    digest: str

    @property
    def classes(self) -> int:
        """One more than the highest label of all, or as many as there can be."""
        return min(int(self.labels.max()) + 1, MAX_CLASSES)

    def held_out(self, at_most: int) -> int:
        """Images held out: at most a fifth of all."""
        return min(at_most, len(self.images) // 5)


def read(path: str) -> Archive:
    """Reads and checks an archive; the last one read is kept in memory.

    Args:
        path: `.npz` file with `images`, [n, h, h] or [n, h, h, c] with c = 1 or 3, of any integer or float type, and
            `labels`, integers [n].

    Raises:
        UserError: when the file cannot be read or an array is not as described, with file, key and mend.
    """
    try:
        facts = Path(path).stat()
    except OSError as error:
        raise UserError(f"[data] path: {path} cannot be read ({error.strerror}); name a NumPy archive") from error
    return _read(path, facts.st_mtime_ns, facts.st_size)


@functools.lru_cache(maxsize=1)
def _read(path: str, *_: int) -> Archive:
    content = _content(path)
    return Archive(*_checked(path, _arrays(path, content)), hashlib.sha256(content).hexdigest())


def misfit(labels: NDArray[Any]) -> str | None:
    """What is wrong with the labels of the images that are used, [m]; None where nothing is."""
    if 0 <= labels.min() < labels.max() < MAX_CLASSES:
        return None
    return f"'labels' runs from {labels.min()} to {labels.max()}; number two or more classes from 0"


def _content(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"[data] path: {path} cannot be read ({error.strerror}); name a NumPy archive") from error


def _arrays(path: str, content: bytes) -> dict[str, NDArray[Any]]:
    """The two arrays of the archive, unpickling nothing."""
    found: dict[str, NDArray[Any]] = {}
    wrong = []
    try:
        archive = np.load(io.BytesIO(content), allow_pickle=False)
    except UNREADABLE as error:
        raise UserError(f"{path}: not a NumPy archive ({error}); write it with np.savez") from error
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise UserError(f"{path}: a single array; save it as np.savez(path, images=..., labels=...)")
    with archive:
        for key in ("images", "labels"):
            if key not in archive.files:
                present = ", ".join(archive.files) or "nothing"
                wrong.append(f"{path}: {key!r} is missing (the file has {present}); add it, np.savez(..., {key}=...)")
                continue
            try:
                found[key] = np.asarray(archive[key])
            except UNREADABLE as error:
                wrong.append(f"{path}: {key!r} cannot be read ({error}); save an array of numbers")
    if wrong:
        raise UserError(*wrong)
    return found


def _checked(path: str, archive: dict[str, NDArray[Any]]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Images [n, h, h, c] and labels [n], or every mistake in them."""
    images, labels = archive["images"], archive["labels"]
    wrong = []
    if images.dtype.kind not in "uif":
        wrong.append(f"'images' has type {images.dtype}; save numbers, as uint8 or float32")
    elif images.ndim not in (3, 4) or images.shape[3:] not in ((), (1,), (3,)) or images.shape[1] != images.shape[2]:
        wrong.append(f"'images' has shape {images.shape}; save square images, [n, h, h], [n, h, h, 1] or [n, h, h, 3]")
    elif len(images) < 5 or images.shape[1] < 1:
        wrong.append(f"'images' has shape {images.shape}; save at least 5 images, so that a fifth can be held out")
    elif not (np.abs(images) <= np.finfo(np.float32).max).all():  # false for NaN
        wrong.append("'images' has values that are not finite in float32; replace or rescale them")
    if labels.dtype.kind not in "ui":
        wrong.append(f"'labels' has type {labels.dtype}; save integers, as labels.astype(int)")
    elif labels.shape != images.shape[:1]:
        wrong.append(
            f"'labels' has shape {labels.shape} for {images.shape[:1]} images; save one integer per image, [n]"
        )
    elif wrong and labels.size and (said := misfit(labels)):  # else it is judged once lists have left images out
        wrong.append(said)
    if wrong:
        raise UserError(*(f"{path}: {message}" for message in wrong))
    return (images if images.ndim == 4 else images[..., None]), labels
