"""Small sets that are held in memory whole, and how they are split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scalelaw.errors import UserError
from scalelaw.sweep import archive, cifar
from scalelaw.sweep.config import DataConfig, DataSection
from scalelaw.sweep.disk import exclusion
from scalelaw.sweep.disk.split import split_order


@dataclass(frozen=True, eq=False)
class InMemory:
    """A set in memory, split.

    Attributes:
        images: numbers [n, side, side, channels], 1 or 3 channels.
        labels: integers [n].
        classes: labels of images that are used are 0 ... classes - 1.
        train_rows, held_rows: which images train and which are held out, in random order.
        digest: SHA-256 of the files.
        excluded: names left out of training: an archive's numbers, from 0, or CIFAR's FILE:NUMBER.
        held_excluded: names left out of the held-out images.
        excluded_classes: how many of an archive's highest labels only images left out have.
    """

    images: NDArray[Any]
    labels: NDArray[Any]
    classes: int
    train_rows: NDArray[np.int64]
    held_rows: NDArray[np.int64]
    digest: str
    excluded: tuple[str, ...]
    held_excluded: tuple[str, ...] = ()
    excluded_classes: int = 0


def in_memory(data: DataSection) -> InMemory:
    """Reads and splits the set of a section, or of a run's completed settings. CIFAR comes with its held-out images.

    Raises:
        UserError: when the files cannot be used, or have fewer images than asked for.
    """
    assert data.path is not None
    gone = data.excluded_holdout_images if isinstance(data, DataConfig) else 0
    if data.source == "npz":
        lost = data.excluded_classes if isinstance(data, DataConfig) and data.digest is not None else None
        return split_archive(data.path, data.seed, data.holdout_images, data.train_images, data.exclude,
                             data.holdout_exclude, gone, lost)  # fmt: skip
    found = cifar.read(data.source, data.path)
    held = found.train + split_order(len(found.images) - found.train, data.seed)
    if "holdout_images" in data.model_fields_set or (isinstance(data, DataConfig) and data.digest is not None):
        held = held[: data.holdout_images + gone]
    held, held_excluded = exclusion.without(
        data.holdout_exclude, data.path, cifar.names(data.source, found), held, "holdout_exclude"
    )
    names = cifar.names(data.source, found)
    order, excluded = exclusion.without(data.exclude, data.path, names, split_order(found.train, data.seed))
    if data.train_images is not None and data.train_images > len(order):
        raise UserError(
            f"[data] train_images: {data.path} has {len(order)} images to train on; ask for at most as many"
        )
    order = order[: data.train_images]
    return InMemory(found.images, found.labels, found.classes, order, held, found.digest, excluded, held_excluded)


def split_archive(
    path: str,
    seed: int,
    holdout_images: int,
    train_images: int | None,
    exclude: str | None = None,
    holdout_exclude: str | None = None,
    gone: int = 0,
    lost: int | None = None,
) -> InMemory:
    """Reads a NumPy archive; the held-out images and the classes are the same ones for any `train_images`.

    Args:
        gone: held-out images that `holdout_exclude` leaves out, where `holdout_images` is without them.
        lost: classes that only images left out have, as a run was planned; None to count them.

    Raises:
        UserError: when it cannot be used, labels of images that no list leaves out do not number classes from 0, or it
            has fewer images than asked for.
    """
    found = archive.read(path)
    order = split_order(len(found.images), seed)
    held = found.held_out(holdout_images + gone)
    names = [str(k) for k in range(len(found.images))] if exclude or holdout_exclude else []
    train, excluded = exclusion.without(exclude, path, names, order[held:])
    rows, held_excluded = exclusion.without(holdout_exclude, path, names, order[:held], "holdout_exclude")
    left = found.labels[np.concatenate([train, rows])]
    if said := archive.misfit(left):
        raise UserError(f"{path}: {said}")
    if lost is None:
        lost = found.classes - (int(left.max()) + 1)
    if train_images is not None and train_images > len(train):
        left_out = f" and {len(excluded)} left out" if excluded else ""
        raise UserError(f"[data] train_images: {path} has {len(found.images)} images, of which {held} are held out"
                        f"{left_out}; ask for at most {len(train)}")  # fmt: skip
    return InMemory(found.images, found.labels, found.classes - lost, train[:train_images], rows, found.digest,
                    excluded, held_excluded, lost)  # fmt: skip
