"""Which example comes when: example k of a run is perm(seed, k div n)[k mod n].

With repeated augmentation of multiplicity m (Hoffer et al. 2019, arXiv 1901.09335) an image comes m times in a row,
augmented differently each time, and a run of the same length passes over the images a m-th as often: example k is copy
k mod m of perm(seed, b div n)[b mod n], with b = k div m.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scalelaw.errors import UserError

STREAM = 0x6F72646572  # "order": keeps these draws apart from every other use of the same seed


def permutation(seed: int, epoch: int, n: int) -> NDArray[np.int32]:
    """The order (int32 [n]) of the n training images in one epoch.

    The rank of raw generator words: numpy promises the words of a bit generator for good, but not the algorithm of
    `Generator.permutation`. Two of n words of 64 bits are equal with probability n^2 / 2^65; a stable sort settles it.
    """
    bits = np.random.PCG64(np.random.SeedSequence([STREAM, seed, epoch])).random_raw(n)
    return np.argsort(bits, kind="stable").astype(np.int32)


class Order:
    """The order of a whole run.

    Batches run across the ends of epochs, so that every epoch shows every image exactly once; only the last batch of a
    run may be short, and is then padded with examples of weight 0.

    Args:
        seed: of the run, at least 0; runs with different seeds see different orders.
        n: training images.
        images: examples that the run sees, images_seen = round(epochs * n).
        batch_size: examples per step.
        copies: of an image, one after the other, so that no batch parts them: a divisor of `batch_size`.

    Raises:
        UserError: when a size is not positive, the seed is negative, or a batch would part copies.
    """

    def __init__(self, seed: int, n: int, images: int, batch_size: int, copies: int = 1) -> None:
        wrong = [f"{name}: must be at least 1, not {value}" for name, value in
                 (("train_images", n), ("images_seen", images), ("batch_size", batch_size), ("copies", copies))
                 if value < 1]  # fmt: skip
        if seed < 0:
            wrong.append(f"seed: must be at least 0, not {seed}")
        if copies > 1 and batch_size % copies:
            wrong.append(f"batch_size: {batch_size} images cannot be {copies} copies each; use a multiple of {copies}")
        if wrong:
            raise UserError(*wrong)
        self.seed, self.n, self.images, self.batch_size, self.copies = seed, n, images, batch_size, copies
        self._epoch, self._permutation = -1, np.empty(0, np.int32)

    @property
    def steps(self) -> int:
        """ceil(images / batch_size)."""
        return -(-self.images // self.batch_size)

    def batch(self, step: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Returns indices (int32 [batch_size]) and weights (float32 [batch_size], 1 or, for padding, 0) of a step.

        Steps may be asked for in any order; going forward costs one permutation per epoch.

        Raises:
            IndexError: when the run has no such step.
        """
        if not 0 <= step < self.steps:
            raise IndexError(f"step {step} of a run of {self.steps} steps")
        start = step * self.batch_size
        stop = min(start + self.batch_size, self.images)
        indices, weights = np.zeros(self.batch_size, np.int32), np.zeros(self.batch_size, np.float32)
        weights[: stop - start] = 1
        indices[: stop - start] = self._images(start // self.copies, -(-stop // self.copies))[: stop - start]
        return indices, weights

    def epochs(self, step: int) -> NDArray[np.int32]:
        """What augmentation knows each row of a step by besides its image, the padding's too (int32 [batch_size]).

        That is the epoch, counted from 0; of copies a number for each pass and copy, so that no two are alike.
        """
        first = step * self.batch_size
        rows = np.arange(first, first + self.batch_size)
        return (rows // self.copies // self.n * self.copies + rows % self.copies).astype(np.int32)

    def _images(self, start: int, stop: int) -> NDArray[np.int32]:
        """The images from place `start` to `stop` of the passes, each as often as it has copies."""
        found = np.empty(stop - start, np.int32)
        for epoch in range(start // self.n, (stop - 1) // self.n + 1):
            first, last = max(start, epoch * self.n), min(stop, (epoch + 1) * self.n)
            found[first - start : last - start] = self._of(epoch)[first - epoch * self.n : last - epoch * self.n]
        return np.repeat(found, self.copies) if self.copies > 1 else found

    def _of(self, epoch: int) -> NDArray[np.int32]:
        if epoch != self._epoch:
            self._epoch, self._permutation = epoch, permutation(self.seed, epoch, self.n)
        return self._permutation
