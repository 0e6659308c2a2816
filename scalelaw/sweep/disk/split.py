"""Which images train and which are held out: a function of the files, the settings and the exclusion list alone."""

from __future__ import annotations

import glob
import os
import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scalelaw.errors import UserError
from scalelaw.sweep.config import DataConfig, DataSection
from scalelaw.sweep.disk import exclusion, labels, parquet, records
from scalelaw.sweep.disk.base import LONG_SECONDS, ImageSet, digest_of, files_at
from scalelaw.sweep.disk.folder import Folder
from scalelaw.sweep.disk.parquet import Parquet
from scalelaw.sweep.disk.records import Records

SPLIT = 0x73706C  # keeps the split's draws apart from other uses of the same seed
_KEPT: dict[Any, tuple[Any, ImageSet]] = {}
SHARE_HELD_OUT = 5  # of images split off, at most one in so many


@dataclass(frozen=True, eq=False)
class Split:
    """Training and held-out images of one configuration.

    Attributes:
        images, held: the files that they lie in, the same twice where the held-out images were split off.
        train_rows: row of `images` of each training index, int64 [train_images]; in random order, so that the first so
            many are a fair sample.
        held_rows: row of `held` of each held-out image, int64 [holdout_images], in random order too.
        excluded: names left out of the training images.
        held_excluded: names left out of the held-out images.
    """

    images: ImageSet
    held: ImageSet
    train_rows: NDArray[np.int64]
    held_rows: NDArray[np.int64]
    excluded: tuple[str, ...]
    held_excluded: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """SHA-256 of the files, training and held-out."""
        return _digest(self.images, self.held)

    @property
    def exclude_digest(self) -> str | None:
        """SHA-256 of the names left out of training, None when all are in."""
        return exclusion.digest(self.excluded)

    @property
    def holdout_exclude_digest(self) -> str | None:
        """The same of the held-out images."""
        return exclusion.digest(self.held_excluded)


def split_order(count: int, seed: int) -> NDArray[np.int64]:
    """Rows 0 ... count - 1 in a random order: the rank of raw generator words, which numpy promises for good."""
    bits = np.random.PCG64(np.random.SeedSequence([SPLIT, seed])).random_raw(count)
    return np.argsort(bits, kind="stable")


def complete(data: DataSection) -> DataConfig:
    """The data of a run: the section with what was found on disk.

    Labels that lie beside the images are read here, once; whoever trains takes them as they come.

    Raises:
        UserError: when the files or the exclusion list cannot be used, or a label is none of the classes.
    """
    found = split(data)
    for images in dict.fromkeys((found.images, found.held)):
        if isinstance(images, Records):
            labels.check(images, _left_out(data, found, images))
    settings = data.model_dump(exclude_defaults=True)
    return DataConfig(**{
        **settings, "classes": found.images.classes, "train_images": len(found.train_rows),
        "holdout_images": len(found.held_rows), "digest": found.digest, "exclude_digest": found.exclude_digest,
        "excluded_images": len(found.excluded), "holdout_exclude_digest": found.holdout_exclude_digest,
        "excluded_holdout_images": len(found.held_excluded),
    })  # fmt: skip


def _left_out(data: DataSection, found: Split, images: ImageSet) -> list[int]:
    """Rows of one place that a list leaves out of the half, or the halves, that would be taken from there."""
    if images is found.images:
        names = {*found.excluded, *(found.held_excluded if images is found.held else ())}
    else:  # of held-out images all that are named, however few are taken
        names = exclusion.names_in(data.holdout_exclude, "holdout_exclude") if data.holdout_exclude else set()
    return [row for row, name in enumerate(images.names()) if name in names] if names else []


def is_there(data: DataSection) -> bool:
    """Whether anything lies where the images should."""
    assert data.path is not None
    return os.path.exists(data.path) or bool(glob.glob(data.path))


def split(data: DataSection, *, fresh: bool = False) -> Split:
    """Lists the files of a section, or of a run's completed settings, and splits them.

    Args:
        fresh: list a folder's files again, even if one was listed before and its folders look untouched.

    Raises:
        UserError: when the files or the exclusion list cannot be used, or are not those of the completed settings.
    """
    completed = isinstance(data, DataConfig) and data.digest is not None
    given = data.model_fields_set
    assert data.path is not None
    classes = data.classes if completed or "classes" in given else None
    images = _opened(data, data.path, None, classes, fresh)
    order = split_order(images.count, data.seed)
    asked = data.holdout_images
    if isinstance(data, DataConfig):  # of a run's settings it is without those left out
        asked += data.excluded_holdout_images
    if data.holdout_path is None:
        held, count = images, min(asked, images.count // SHARE_HELD_OUT)
        held_rows, order = order[:count], order[count:]
    else:
        held = _opened(data, data.holdout_path, images.class_names, images.classes, fresh)
        held_rows = split_order(held.count, data.seed)
        if completed or "holdout_images" in given:
            held_rows = held_rows[:asked]
    if not len(held_rows):
        raise UserError(f"[data] path: {data.path} has {images.count} images; a fifth is held out, give at least 5")
    order, excluded = exclusion.without(data.exclude, data.path, images.names(), order)
    held_rows, held_excluded = exclusion.without(
        data.holdout_exclude, data.holdout_path or data.path, held.names(), held_rows, "holdout_exclude"
    )
    if completed:
        assert isinstance(data, DataConfig)
        _same(data, _digest(images, held), exclusion.digest(excluded), exclusion.digest(held_excluded))
    train = len(order) if data.train_images is None else data.train_images
    if train > len(order) or not len(order):
        held_out = "" if data.holdout_path else f", of which {len(held_rows)} are held out"
        left_out = f" and {len(excluded)} left out" if excluded else ""
        raise UserError(f"[data] train_images: {data.path} has {images.count} images{held_out}{left_out}; ask for at "
                        f"most {len(order)}")  # fmt: skip
    found = Split(images, held, order[:train], held_rows, excluded, held_excluded)
    if isinstance(images, Parquet) and isinstance(held, Parquet):
        found = _judged(data, found, images, held, classes)
    if classes not in (None, found.images.classes):
        raise UserError(f"[data] classes: {data.path} has {found.images.classes}, not {classes}; leave classes out")
    return found


def _judged(data: DataSection, found: Split, images: Parquet, held: Parquet, stated: int | None) -> Split:
    """The split with the classes of the rows that no list leaves out, however few are taken, and their labels checked.

    A stated number that is that of all rows stays, so that runs go on which were planned by it.
    """
    sets = dict.fromkeys((images, held))
    if stated == images.classes and not any((one.labels < 0).any() for one in sets):
        return found
    left_out = {one: _left_out(data, found, one) for one in sets}
    if any(left_out.values()) and stated != images.classes:
        kept = images.classes_of(np.concatenate([np.delete(one.labels, out) for one, out in left_out.items()]))
        if len(kept) < images.classes:
            left_out = {one.with_classes(kept): out for one, out in left_out.items()}
            images, held = next(iter(left_out)), [*left_out][-1]
    for one, out in left_out.items():
        one.check(out)
    return replace(found, images=images, held=held)


def _digest(images: ImageSet, held: ImageSet) -> str:
    return images.digest if held is images else digest_of([images.digest, held.digest])


def _same(data: DataConfig, digest: str, exclude_digest: str | None, holdout_exclude_digest: str | None) -> None:
    """Refuses files that are not those of the plan."""
    again = "since the sweep was planned; bring the old"
    if digest != data.digest:
        raise UserError(f"[data] path: {data.path} has changed {again} files back, or plan a new sweep")
    if exclude_digest != data.exclude_digest:
        raise UserError(f"[data] exclude: {data.exclude} has changed {again} list back, or plan a new sweep")
    if holdout_exclude_digest != data.holdout_exclude_digest:
        raise UserError(
            f"[data] holdout_exclude: {data.holdout_exclude} has changed {again} list back, or plan a new sweep"
        )


def _opened(data: DataSection, path: str, known: tuple[str, ...] | None, classes: int | None, fresh: bool) -> ImageSet:
    """The files listed; a listing that took long serves the whole of a plan."""
    key = (data.source, path, data.image_key, data.label_key, data.cache, known, classes)
    stamp = _stamp(data.source, path)
    if key in _KEPT and _KEPT[key][0] == stamp and not (fresh and data.source == "folder"):
        return _KEPT[key][1]
    began, images = time.monotonic(), _listed(data, path, known, classes)
    if time.monotonic() - began > LONG_SECONDS:
        _KEPT[key] = (stamp, images)
    return images


def _listed(data: DataSection, path: str, known: tuple[str, ...] | None, classes: int | None) -> ImageSet:
    if data.source == "folder":
        return Folder(path, known)
    if data.source == "parquet":
        return Parquet(path, data.image_key, data.label_key, known, classes, data.cache)
    return Records(path, data.image_key, data.label_key, classes, known)


def _stamp(source: str, path: str) -> tuple[Any, ...]:
    """What tells a place from its later self without listing it whole: times of its folders, or facts of its files.

    A folder's time does not move when a file in it is overwritten, so training lists folders afresh.
    """
    if source == "folder":
        try:
            inside = [entry.path for entry in os.scandir(path) if entry.is_dir()]
            return tuple(os.stat(name).st_mtime_ns for name in [path, *sorted(inside)])
        except OSError:
            return ()
    kind = parquet if source == "parquet" else records
    root, names = files_at(path, kind.ENDING, kind.WHAT)
    facts = [os.stat(os.path.join(root, name)) for name in names]
    return tuple((name, fact.st_size, fact.st_mtime_ns) for name, fact in zip(names, facts, strict=True))
