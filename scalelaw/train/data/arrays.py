"""A NumPy archive of images and labels, held in memory.

Export scikit-learn's handwritten digits, for example:

    from sklearn.datasets import load_digits; import numpy as np
    d = load_digits(); np.savez("digits.npz", images=d.images, labels=d.target)
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from scalelaw.errors import UserError
from scalelaw.sweep import archive
from scalelaw.train.data.source import Arrays, Indexed, twin_share

SPLIT = 0x73706C  # keeps the split's draws apart from other uses of the same seed


@dataclass(frozen=True, eq=False)
class Archive(Indexed):
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

    found = archive.read(path)
    if digest not in (None, found.digest):
        raise UserError(f"[data] path: {path} has changed since the sweep was planned; bring the old file back, or plan"
                        " a new sweep")  # fmt: skip
    images, labels = found.images, found.labels
    bits = np.random.PCG64(np.random.SeedSequence([SPLIT, seed])).random_raw(len(images))
    order = np.argsort(bits, kind="stable")
    held = found.held_out(holdout_images)
    train = len(images) - held if train_images is None else train_images
    if train > len(images) - held:
        raise UserError(f"[data] train_images: {path} has {len(images)} images, of which {held} are held out; ask for"
                        f" at most {len(images) - held}")  # fmt: skip
    chosen = np.concatenate([order[held : held + train], order[:held]])
    images, labels = images[chosen], labels[chosen].astype(np.int32)
    mean, std = (f(images[:train], axis=(0, 1, 2), dtype=np.float64) for f in (np.mean, np.std))
    if not std.any():
        raise UserError(f"{path}: 'images': all training pixels are equal; save images that differ")
    if images.dtype != np.uint8:  # bytes stay bytes, a quarter of the memory
        images = images.astype(np.float32)
    arrays = {"images": images, "labels": labels, "mean": mean.astype(np.float32),
              "std": np.where(std > 0, std, 1).astype(np.float32)}  # fmt: skip
    on_device = {name: jnp.asarray(array) for name, array in arrays.items()}
    return Archive(found.classes, images.shape[1], train, held, on_device, path, seed, found.digest)
