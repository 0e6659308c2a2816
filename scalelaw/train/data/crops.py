"""Which part of an image is seen: a pure function of (seed, epoch, index) in training, the centre in evaluation."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from scalelaw.train.data.decode import Box

STREAM = 0x63726F70  # "crop": keeps these draws apart from every other use of the same seed
TRIES = 10
MARGIN = 32  # pixels that evaluation resizes to beyond what it keeps


@dataclass(frozen=True)
class Crop:
    """A random crop, and whether it is mirrored.

    As Szegedy et al. 2015 (arXiv 1409.4842, section 6): a rectangle of a share of the image's area drawn evenly, its
    width over height drawn evenly on a log scale, at a place drawn evenly; of ten draws the first that fits, else the
    largest centred rectangle of a permitted shape. The log scale and the ten draws are torchvision's.

    Attributes:
        words: floats from 0 to 1 that decide it all.
        area, aspect: lowest and highest share of the area, and width over height.
    """

    words: tuple[float, ...]
    area: tuple[float, float]
    aspect: tuple[float, float]

    @property
    def mirrored(self) -> bool:
        """Left and right change places."""
        return self.words[-1] < 0.5

    def __call__(self, height: int, width: int) -> Box:
        """The rectangle of an image of this size."""
        low, high = map(math.log, self.aspect)
        for k in range(0, 4 * TRIES, 4):
            area, shape, down, across = self.words[k : k + 4]
            pixels = height * width * (self.area[0] + area * (self.area[1] - self.area[0]))
            ratio = math.exp(low + shape * (high - low))
            wide, tall = round(math.sqrt(pixels * ratio)), round(math.sqrt(pixels / ratio))
            if 0 < wide <= width and 0 < tall <= height:
                top, left = int(down * (height - tall + 1)), int(across * (width - wide + 1))
                return left, top, left + wide, top + tall
        wide = min(width, max(1, round(height * self.aspect[1])))
        tall = min(height, max(1, round(width / self.aspect[0])))
        top, left = (height - tall) // 2, (width - wide) // 2
        return left, top, left + wide, top + tall


def words(seed: int, epoch: int, index: int) -> tuple[float, ...]:
    """The random numbers of one image in one epoch: raw generator words, which numpy promises for good."""
    bits = np.random.PCG64(np.random.SeedSequence([STREAM, seed, epoch, index])).random_raw(4 * TRIES + 1)
    return tuple(((bits >> np.uint64(11)) * 2.0**-53).tolist())


def centre(height: int, width: int, side: int) -> Box:
    """The part that evaluation sees: what remains of the centre, `side` pixels square, when the shorter side is resized
    to `MARGIN` pixels more (Brock et al. 2021, arXiv 2102.06171), to an eighth more where `side` is below 256.
    """
    kept = min(height, width) * side / (side + min(MARGIN, side / 8))
    top, left = (height - kept) / 2, (width - kept) / 2
    return left, top, left + kept, top + kept
