"""What every data source offers: a finite training set and held-out images, both addressed by integers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import jax
import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, jax.Array]


@dataclass(frozen=True, eq=False)
class Source(ABC):
    """Images and labels by index.

    Attributes:
        classes: labels are 0 ... classes - 1.
        resolution: height and width of an image in pixels.
        train_images: size n of the training set; its indices are 0 ... n - 1.
        holdout_images: number of held-out images.
        arrays: what `batch` reads. Pass it into the jitted step as an argument: closed over, it would be compiled in
            as constants, and every data seed would need an executable of its own.
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
        """What the trace of `batch` depends on besides the shapes of `arrays`: equal signatures may share a step."""

    @property
    @abstractmethod
    def holdout_start(self) -> int:
        """Index of the first held-out image; never less than `train_images`, which keeps the two sets disjoint."""

    @abstractmethod
    def batch(self, arrays: Arrays, indices: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns images (float32 [b, resolution, resolution, 3], about unit variance) and labels (int32 [b]).

        Pure and jittable. An image depends on its index (int32 [b]) alone, not on the rest of the batch.
        """

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Facts for a `data.json`, among them `holdout_twin_share`: held-out images that training contains exactly."""

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
