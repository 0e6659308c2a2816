"""A NumPy archive of images and labels, held in memory.

Export scikit-learn's handwritten digits, for example:

    from sklearn.datasets import load_digits; import numpy as np
    d = load_digits(); np.savez("digits.npz", images=d.images, labels=d.target)
"""

from __future__ import annotations

import hashlib
import io
import struct
import zipfile
import zlib
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from scalelaw.errors import UserError
from scalelaw.train.data.source import Arrays, Source, twin_share

SPLIT = 0x73706C  # keeps the split's draws apart from other uses of the same seed
UNREADABLE = (
    OSError,
    ValueError,
    EOFError,
    KeyError,
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    NotImplementedError,
)


@dataclass(frozen=True, eq=False)
class Archive(Source):
    """Images in memory, training images first, held-out images after them.

    Attributes:
        path: the archive.
        seed: of the split.
        digest: SHA-256 of the file.
    """

    path: str
    seed: int
    digest: str

    @property
    def signature(self) -> Hashable:
        return ("npz", self.resolution)

    @property
    def holdout_start(self) -> int:
        return self.train_images

    def batch(self, arrays: Arrays, indices: jax.Array) -> tuple[jax.Array, jax.Array]:
        images = (arrays["images"][indices].astype(jnp.float32) - arrays["mean"]) / arrays["std"]
        shape = (*images.shape[:3], self.channels)  # grey images have one channel here, repeated
        return jnp.broadcast_to(images, shape), arrays["labels"][indices]

    def describe(self) -> dict[str, Any]:
        images = np.asarray(self.arrays["images"])
        rows = images.reshape(len(images), -1)
        return {
            "source": "npz", "path": self.path, "sha256": self.digest, "classes": self.classes,
            "resolution": self.resolution, "train_images": self.train_images, "holdout_images": self.holdout_images,
            "seed": self.seed, "mean": np.asarray(self.arrays["mean"]).tolist(),
            "std": np.asarray(self.arrays["std"]).tolist(),
            "holdout_twin_share": twin_share([rows[self.train_images :]], [rows[: self.train_images]]),
        }  # fmt: skip


def make(
    *,
    path: str | None,
    train_images: int | None = None,
    holdout_images: int = 4096,
    seed: int = 0,
    digest: str | None = None,
) -> Archive:
    """Reads an archive.

    Args:
        path: `.npz` file with `images`, [n, h, h] or [n, h, h, c] with c = 1 or 3, of any integer or float type, and
            `labels`, integers [n].
        train_images: size of the training set, None for all that are not held out.
        holdout_images: at most so many, and at most a fifth of all, are held out; the same ones for any `train_images`.
        seed: of the split.
        digest: SHA-256 that the file must have.

    Raises:
        UserError: when the file cannot be read or an array is not as described, with file, key and mend.
    """
    sizes = {"holdout_images": (holdout_images, 1), "seed": (seed, 0), "train_images": (train_images, 1)}
    wrong = [f"[data] {name}: must be a whole number of at least {least}, not {value!r}"
             for name, (value, least) in sizes.items() if not (value is None and name == "train_images")
             and (not isinstance(value, int) or isinstance(value, bool) or value < least)]  # fmt: skip
    if path is None:
        wrong.append("[data] path: is missing; source = 'npz' reads a NumPy archive")
    if path is None or wrong:
        raise UserError(*wrong)

    content = _content(path)
    sha256 = hashlib.sha256(content).hexdigest()
    if digest not in (None, sha256):
        raise UserError(f"[data] path: {path} has changed since the sweep was planned; bring the old file back, or plan"
                        " a new sweep")  # fmt: skip
    images, labels = _checked(path, _read(path, content))
    bits = np.random.PCG64(np.random.SeedSequence([SPLIT, seed])).random_raw(len(images))
    order = np.argsort(bits, kind="stable")
    held = min(holdout_images, len(images) // 5)
    train = len(images) - held if train_images is None else train_images
    if train > len(images) - held:
        raise UserError(f"[data] train_images: {path} has {len(images)} images, of which {held} are held out; ask for"
                        f" at most {len(images) - held}")  # fmt: skip
    classes = int(labels.max()) + 1
    chosen = np.concatenate([order[held : held + train], order[:held]])
    images, labels = images[chosen], labels[chosen].astype(np.int32)
    mean, std = (f(images[:train], axis=(0, 1, 2), dtype=np.float64) for f in (np.mean, np.std))
    if not std.any():
        raise UserError(f"{path}: 'images': all training pixels are equal; save images that differ")
    if images.dtype != np.uint8:  # bytes stay bytes, a quarter of the memory
        images = images.astype(np.float32)
    arrays = {"images": images, "labels": labels, "mean": mean.astype(np.float32),
              "std": np.where(std > 0, std, 1).astype(np.float32)}  # fmt: skip
    return Archive(classes, images.shape[1], train, held, {name: jnp.asarray(array) for name, array in arrays.items()},
                   path, seed, sha256)  # fmt: skip


def _content(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"[data] path: {path} cannot be read ({error.strerror}); name a NumPy archive") from error


def _read(path: str, content: bytes) -> dict[str, NDArray[Any]]:
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
    elif not np.isfinite(images.astype(np.float32)).all():
        wrong.append("'images' has values that are not finite in float32; replace or rescale them")
    if labels.dtype.kind not in "ui":
        wrong.append(f"'labels' has type {labels.dtype}; save integers, as labels.astype(int)")
    elif labels.shape != images.shape[:1]:
        wrong.append(
            f"'labels' has shape {labels.shape} for {images.shape[:1]} images; save one integer per image, [n]"
        )
    elif labels.size and not (0 <= labels.min() < labels.max() < 2**16):
        wrong.append(f"'labels' runs from {labels.min()} to {labels.max()}; number two or more classes from 0")
    if wrong:
        raise UserError(*(f"{path}: {message}" for message in wrong))
    return (images if images.ndim == 4 else images[..., None]), labels
