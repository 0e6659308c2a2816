"""What every data source offers: a finite training set and held-out images, both addressed by integers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import jax
import numpy as np
from numpy.typing import NDArray

from scalelaw.train.data.order import Order

Arrays = Mapping[str, jax.Array]
Inputs = Mapping[str, Any]
"""One batch as the host hands it to the step: arrays of b rows, among them `index` and `epoch` (int32 [b])."""


class Batch(NamedTuple):
    """What one step takes: its inputs, b rows each, and the rows' weights (float32 [b], 1 or, for padding, 0)."""

    inputs: dict[str, NDArray[Any]]
    weights: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Replaced:
    """Images that others stand in for.

    Attributes:
        gone: their indices, int32 [n], ascending.
        fresh: those of the images in their place, int32 [n].
    """

    gone: NDArray[np.int32]
    fresh: NDArray[np.int32]

    def of(self, indices: NDArray[np.int32]) -> NDArray[np.int32]:
        """Indices with the fresh ones in the place of those gone."""
        if not len(self.gone):
            return indices
        at = np.minimum(np.searchsorted(self.gone, indices), len(self.gone) - 1)
        return np.where(self.gone[at] == indices, self.fresh[at], indices)


@dataclass(frozen=True, eq=False)
class Source(ABC):
    """Images and labels by index.

    Attributes:
        classes: labels are 0 ... classes - 1.
        resolution: height and width of an image in pixels.
        train_images: size n of the training set; its indices are 0 ... n - 1.
        holdout_images: number of held-out images.
        arrays: what `images` reads besides a batch's inputs. Pass it into the jitted step as an argument: closed over,
            it would be compiled in as constants, and every data seed would need an executable of its own.
    """

    channels: ClassVar[int] = 3

    classes: int
    resolution: int
    train_images: int
    holdout_images: int
    arrays: Arrays = field(repr=False)

    @property
    @abstractmethod
    def signature(self) -> Hashable:
        """What the trace of `images` depends on besides the shapes of `arrays`: equal signatures may share a step."""

    @abstractmethod
    def images(self, arrays: Arrays, inputs: Inputs, *, training: bool) -> tuple[jax.Array, jax.Array]:
        """Returns images (float32 [b, height, width, 3], about unit variance) and labels (int32 [b]).

        Pure and jittable; called in the step. An image depends on its own row of `inputs` alone, not on the rest of the
        batch; a training image may be augmented, as a function of the seed, its epoch and its index.
        """

    @abstractmethod
    def feed(self, order: Order, first_step: int, rows: slice) -> Iterator[Batch]:
        """The batches of a run, from step `first_step` (counted from 0) to its last.

        Args:
            rows: which rows of every batch this process gives; the others' are given by other processes.
        """

    @abstractmethod
    def held_out(self, size: int, at_most: int | None, rows: slice) -> Iterator[Batch]:
        """Batches of `size` rows of held-out images, in order, the last one padded with rows of weight 0.

        Args:
            at_most: only the first so many images; None for all.
            rows: which rows of every batch this process gives.
        """

    @property
    def corrupt(self) -> dict[str, str]:
        """The unreadable images met so far, by name: why. None unless they come from files."""
        return {}

    @property
    def software(self) -> dict[str, str]:
        """Versions of libraries that the images' last bits depend on, by what they do."""
        return {}

    @property
    def remark(self) -> str | None:
        """What the reader of a run on these images should know of them."""
        return None

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Facts for a `data.json`; where known, `holdout_twin_share`: held-out images that training has exactly."""


class Indexed(Source):
    """A source whose images the step makes or finds by index; all that the host hands over is integers."""

    @property
    @abstractmethod
    def holdout_start(self) -> int:
        """Index of the first held-out image; never less than `train_images`, which keeps the two sets disjoint."""

    @abstractmethod
    def batch(self, arrays: Arrays, indices: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns images (float32 [b, resolution, resolution, 3], about unit variance) and labels (int32 [b]).

        Pure and jittable. An image depends on its index (int32 [b]) alone, not on the rest of the batch.
        """

    def images(self, arrays: Arrays, inputs: Inputs, *, training: bool) -> tuple[jax.Array, jax.Array]:
        return self.batch(arrays, inputs["index"])

    def feed(self, order: Order, first_step: int, rows: slice) -> Iterator[Batch]:
        for step in range(first_step, order.steps):
            indices, weights = order.batch(step)
            yield Batch({"index": indices[rows], "epoch": order.epochs(step)[rows]}, weights[rows])

    def held_out(self, size: int, at_most: int | None, rows: slice) -> Iterator[Batch]:
        indices = self.holdout_indices()[:at_most]
        for first in range(0, len(indices), size):
            chunk = indices[first : first + size]
            padded, weights = np.full(size, chunk[0], np.int32), np.zeros(size, np.float32)
            padded[: len(chunk)], weights[: len(chunk)] = chunk, 1
            yield Batch({"index": padded[rows], "epoch": np.zeros_like(padded[rows])}, weights[rows])

    def holdout_indices(self) -> NDArray[np.int32]:
        """Indices (int32 [holdout_images]) of the held-out images, none of which is a training index."""
        return np.arange(self.holdout_start, self.holdout_start + self.holdout_images, dtype=np.int32)


def twin_share(holdout: Iterable[NDArray[Any]], train: Iterable[NDArray[Any]]) -> float:
    """Share of the held-out rows that occur, every entry equal, among the training rows; both come in blocks [b, k]."""
    held = [row.tobytes() for block in holdout for row in block]
    sought, found = set(held), set()
    for block in train:
        found |= sought.intersection(row.tobytes() for row in block)
    return sum(row in found for row in held) / len(held)
