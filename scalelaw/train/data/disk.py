"""Image files from disk: decoded and cropped by the host's threads, normalised in the step."""

from __future__ import annotations

import functools
import threading
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from scalelaw.errors import UserError
from scalelaw.sweep import disk, facts
from scalelaw.sweep.config import DataConfig
from scalelaw.sweep.disk.parquet import Parquet
from scalelaw.train.data import crops, decode, pipeline
from scalelaw.train.data.order import Order
from scalelaw.train.data.pipeline import Place
from scalelaw.train.data.source import Arrays, Batch, Inputs, Source

NAMED = 3  # unreadable images that a message names


@dataclass(frozen=True, eq=False)
class Disk(Source):
    """Images of a folder, of Parquet or ArrayRecord files.

    Training images are cropped and mirrored as a function of the run's seed, their epoch and index. An unreadable
    training image is replaced by the next readable one, with that one's label; an unreadable held-out image gets weight
    0.

    Attributes:
        config: the settings.
        split: which images train and which are held out.
    """

    config: DataConfig
    split: disk.Split
    _corrupt: dict[str, dict[str, str]] = field(default_factory=lambda: {"training": {}, "held-out": {}}, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def signature(self) -> Hashable:
        return "disk", self.resolution, self.config.eval_side

    @property
    def software(self) -> dict[str, str]:
        return {f"decoder of {kind}": version for kind, version in decode.decoders().items()}

    @property
    def corrupt(self) -> dict[str, str]:
        """The unreadable images met so far, by name: why."""
        with self._lock:
            return {name: why for found in self._corrupt.values() for name, why in sorted(found.items())}

    def images(self, arrays: Arrays, inputs: Inputs, *, training: bool) -> tuple[jax.Array, jax.Array]:
        pixels = jnp.asarray(inputs["image"]).astype(jnp.float32)
        return (pixels - arrays["mean"]) / arrays["std"], jnp.asarray(inputs["label"])

    def feed(self, order: Order, first_step: int, rows: slice) -> Iterator[Batch]:
        places = pipeline.Places(order, first_step, rows)
        return self._batches(places, functools.partial(self.training_example, order.seed), self.resolution)

    def held_out(self, size: int, at_most: int | None, rows: slice) -> Iterator[Batch]:
        count = min(self.holdout_images, self.holdout_images if at_most is None else at_most)
        return self._batches(pipeline.HeldOut(count, size, rows), self.held_out_example, self.config.eval_side)

    def _batches(self, places: Any, fetch: Any, side: int) -> Iterator[Batch]:
        threads = self.config.decode_threads or pipeline.default_threads()
        for examples in pipeline.fetched(places, fetch, threads, side * side * self.channels):
            found, images, labels, weights = zip(*examples, strict=True)
            inputs = {
                "index": np.array([place.image for place in found], np.int32),
                "epoch": np.array([place.epoch for place in found], np.int32),
                "image": np.stack(images),
                "label": np.array(labels, np.int32),
            }
            yield Batch(inputs, np.array(weights, np.float32))

    def training_example(self, seed: int, place: Place) -> tuple[Place, decode.Pixels, int, float]:
        """The place with its image (uint8 [resolution, resolution, 3]), label and weight."""
        side = self.resolution
        if not place.weight:
            return place, np.zeros((side, side, self.channels), np.uint8), 0, 0.0
        augment, rows = self.config.augment or "crop-flip", self.split.train_rows
        crop = crops.Crop(crops.words(seed, place.epoch, place.image), self.config.crop_area, self.config.crop_aspect)
        choose = crop if augment == "crop-flip" else functools.partial(crops.centre, side=side)
        for beyond in range(len(rows)):
            row = int(rows[(place.image + beyond) % len(rows)])
            try:
                content, label = self.split.images.read(row)
                image = decode.square(content, choose, side)
            except UserError:
                raise
            except (OSError, ValueError) as error:
                self._note("training", self.split.images, row, error, len(rows))
                continue
            mirrored = augment != "none" and crop.mirrored
            return place, image[:, ::-1] if mirrored else image, label, place.weight
        raise UserError(f"{self.config.path}: no training image can be read")

    def held_out_example(self, place: Place) -> tuple[Place, decode.Pixels, int, float]:
        """The same for a held-out image (uint8 [eval_resolution, eval_resolution, 3])."""
        side = self.config.eval_side
        row = int(self.split.held_rows[place.image])
        try:
            if place.weight:
                content, label = self.split.held.read(row)
                return place, decode.square(content, functools.partial(crops.centre, side=side), side), label, 1.0
        except UserError:
            raise
        except (OSError, ValueError) as error:
            self._note("held-out", self.split.held, row, error, self.holdout_images)
        return place, np.zeros((side, side, self.channels), np.uint8), 0, 0.0

    def _note(self, part: str, images: disk.ImageSet, row: int, error: Exception, of: int) -> None:
        """Keeps an unreadable image's name.

        Raises:
            UserError: when they are too many.
        """
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        with self._lock:
            found = self._corrupt[part]
            found[images.name(row)] = reason
            if len(found) > self.config.max_corrupt * of:
                first = "; ".join(f"{name} ({why})" for name, why in sorted(found.items())[:NAMED])
                raise UserError(f"{images.path}: {len(found)} of {of} {part} images cannot be read, more than "
                                f"max_corrupt = {self.config.max_corrupt:g} bears: {first}; mend or exclude them, or "
                                "raise max_corrupt")  # fmt: skip

    def describe(self) -> dict[str, Any]:
        """Facts for a `data.json`. What training holds of the held-out images, `scalelaw dedup` says."""
        config, names = self.config, self.split.images.class_names
        return {
            "source": config.source, "path": config.path, "holdout_path": config.holdout_path,
            "sha256": self.split.digest, "classes": self.classes, "class_names": None if names is None else list(names),
            "resolution": self.resolution, "eval_resolution": config.eval_side,
            "train_images": self.train_images, "holdout_images": self.holdout_images, "seed": config.seed,
            "exclude": config.exclude, "excluded_images": len(self.split.excluded),
            "augment": config.augment or "crop-flip", "mean": list(config.pixel_mean), "std": list(config.pixel_std),
            "decoder": decode.decoders(),
        }  # fmt: skip


def of_config(config: DataConfig) -> Disk:
    """Images as a run's configuration names them, or a section of a spec.

    Raises:
        UserError: when the settings or the files cannot be used, or the files have changed since the run was planned.
    """
    if config.digest is None:
        config = facts.with_digest(config)
    found = disk.split(config, fresh=True)
    if isinstance(found.images, Parquet):
        found.images.warn_of_slow_access()
    scale = {"mean": config.pixel_mean, "std": config.pixel_std}
    arrays = {name: jnp.asarray(255 * np.array(value, np.float32)) for name, value in scale.items()}
    sizes = (config.train_side, len(found.train_rows), len(found.held_rows))
    return Disk(found.images.classes, *sizes, arrays, config, found)
