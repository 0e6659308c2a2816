"""Small sets held in memory: a NumPy archive of images and labels, and CIFAR.

Export scikit-learn's handwritten digits, for example:

    from sklearn.datasets import load_digits; import numpy as np
    d = load_digits(); np.savez("digits.npz", images=d.images, labels=d.target)
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from scalelaw.errors import UserError
from scalelaw.sweep import archive, facts
from scalelaw.sweep import cifar as cifar_files
from scalelaw.sweep.config import DataConfig
from scalelaw.sweep.disk import exclusion
from scalelaw.sweep.memory import InMemory, in_memory, split_archive
from scalelaw.train.data import augment as augmentation
from scalelaw.train.data.order import Order
from scalelaw.train.data.source import Arrays, Batch, Indexed, Inputs, twin_share


@dataclass(frozen=True, eq=False)
class Archive(Indexed):
    """Images in memory, training images first, held-out images after them.

    Attributes:
        path: the archive.
        seed: of the split.
        digest: SHA-256 of the file.
        source: npz, cifar10 or cifar100.
        augment: of training images, see `scalelaw.train.data.augment`.
    """

    path: str
    seed: int
    digest: str
    source: str = "npz"
    augment: str = "none"

    @property
    def signature(self) -> Hashable:
        return ("npz", self.resolution) if self.augment == "none" else ("npz", self.resolution, self.augment)

    @property
    def holdout_start(self) -> int:
        return self.train_images

    def images(self, arrays: Arrays, inputs: Inputs, *, training: bool) -> tuple[jax.Array, jax.Array]:
        images, labels = self.batch(arrays, inputs["index"])
        if training and self.augment != "none":
            words = (inputs["key"], inputs["epoch"], inputs["index"])
            images = augmentation.augmented(images, *words, crop=self.augment == "crop-flip")
        return images, labels

    def feed(self, order: Order, first_step: int, rows: slice) -> Iterator[Batch]:
        for inputs, weights in super().feed(order, first_step, rows):
            if self.augment != "none":
                inputs["key"] = augmentation.key_of(order.seed, len(weights))
            yield Batch(inputs, weights)

    def batch(self, arrays: Arrays, indices: jax.Array) -> tuple[jax.Array, jax.Array]:
        images = (arrays["images"][indices].astype(jnp.float32) - arrays["mean"]) / arrays["std"]
        shape = (*images.shape[:3], self.channels)  # grey images have one channel here, repeated
        return jnp.broadcast_to(images, shape), arrays["labels"][indices]

    def describe(self) -> dict[str, Any]:
        images = np.asarray(self.arrays["images"])
        rows = images.reshape(len(images), -1)
        return {
            "source": self.source, "path": self.path, "sha256": self.digest, "classes": self.classes,
            "resolution": self.resolution, "train_images": self.train_images, "holdout_images": self.holdout_images,
            "seed": self.seed, "augment": self.augment, "mean": np.asarray(self.arrays["mean"]).tolist(),
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
    augment: str | None = None,
    exclude: str | None = None,
    exclude_digest: str | None = None,
    holdout_exclude: str | None = None,
    holdout_exclude_digest: str | None = None,
    excluded_holdout_images: int = 0,
    excluded_classes: int = 0,
) -> Archive:
    """Reads an archive.

    Args:
        path: `.npz` file with `images`, [n, h, h] or [n, h, h, c] with c = 1 or 3, of any integer or float type, and
            `labels`, integers [n].
        train_images: size of the training set, None for all that are not held out.
        holdout_images: at most so many, and at most a fifth of all, are held out; the same ones for any `train_images`.
        seed: of the split.
        digest: SHA-256 that the file must have.
        augment: of training images: none (also when None), flip or crop-flip.
        exclude: list of training images to leave out, by their numbers from 0.
        exclude_digest: SHA-256 that their names must have.
        holdout_exclude, holdout_exclude_digest: the same of held-out images.
        excluded_holdout_images: how many of them `holdout_images` is without.
        excluded_classes: with a digest, how many classes of the archive are none because only images left out have
            them; without, they are counted.

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

    if digest is not None:
        _same("path", path, digest, archive.read(path).digest)
    found = split_archive(path, seed, holdout_images, train_images, exclude, holdout_exclude, excluded_holdout_images,
                          None if digest is None else excluded_classes)  # fmt: skip
    if digest is not None:
        _same("exclude", exclude, exclude_digest, exclusion.digest(found.excluded))
        _same("holdout_exclude", holdout_exclude, holdout_exclude_digest, exclusion.digest(found.held_excluded))
    return _on_device("npz", path, seed, augment or "none", found)


def cifar(config: DataConfig) -> Archive:
    """CIFAR-10 or CIFAR-100 as a run's configuration names it; held out is the official test set.

    Raises:
        UserError: when a file cannot be read or is no such file, or has changed since the run was planned.
    """
    if config.digest is None:
        config = facts.with_digest(config)
    assert config.path is not None
    _same("path", config.path, config.digest, cifar_files.read(config.source, config.path).digest)
    found = in_memory(config)
    _same("exclude", config.exclude, config.exclude_digest, exclusion.digest(found.excluded))
    held = exclusion.digest(found.held_excluded)
    _same("holdout_exclude", config.holdout_exclude, config.holdout_exclude_digest, held)
    return _on_device(config.source, config.path, config.seed, config.augment or "crop-flip", found)


def _same(key: str, place: str | None, planned: str | None, now: str | None) -> None:
    """Refuses a file that is not that of the plan."""
    if planned != now:
        said = "has changed since the sweep was planned; bring the old file back, or plan a new sweep"
        raise UserError(f"[data] {key}: {place} {said}")


def _on_device(source: str, path: str, seed: int, augment: str, found: InMemory) -> Archive:
    train, held = len(found.train_rows), len(found.held_rows)
    chosen = np.concatenate([found.train_rows, found.held_rows])
    images, labels = found.images[chosen], found.labels[chosen].astype(np.int32)
    mean, std = (f(images[:train], axis=(0, 1, 2), dtype=np.float64) for f in (np.mean, np.std))
    if not std.any():
        raise UserError(f"{path}: 'images': all training pixels are equal; save images that differ")
    if images.dtype != np.uint8:  # bytes stay bytes, a quarter of the memory
        images = images.astype(np.float32)
    arrays = {"images": images, "labels": labels, "mean": mean.astype(np.float32),
              "std": np.where(std > 0, std, 1).astype(np.float32)}  # fmt: skip
    on_device = {name: jnp.asarray(array) for name, array in arrays.items()}
    return Archive(found.classes, images.shape[1], train, held, on_device, path, seed, found.digest, source, augment)
