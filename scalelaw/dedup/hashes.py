"""The perceptual hash of a thumbnail: the signs of its 64 lowest frequencies.

It is the DCT hash of Zauner 2010 (pHash) with two changes: signs, not comparisons with the median, and a small margin
above zero, so that frequencies that an image does not have always give the same bit.
"""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from scalelaw.dedup.search import CHUNK_BITS, CHUNKS, Hashes
from scalelaw.dedup.thumbnails import SIDE, Thumbnails

BITS, RADIUS = 64, 12
"""RADIUS: made copies lie within it of some view, see the package's docstring for what was measured."""
MARGIN = 1.0
"""A bit is set by a coefficient above it, in grey levels of the orthonormal transform."""
STRETCH = 0.03
"""Views of a held-out image are stretched by so much of its side, outwards or inwards, at each of its four edges."""
FIRM, FIRM_BITS = 6.0, 24
"""An image with fewer than 24 coefficients above 6 grey levels is plain: compression alone changes its hash."""
BATCH = 4096


def _lowest() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Vertical and horizontal frequencies of the 64 bits, lowest first; the mean, which light changes, is left out."""
    pairs = [(v, h) for v in range(SIDE) for h in range(SIDE) if v + h]
    lowest = sorted(pairs, key=lambda pair: (pair[0] ** 2 + pair[1] ** 2, pair))[:BITS]
    vertical, horizontal = np.array(lowest).T
    return vertical, horizontal


VERTICAL, HORIZONTAL = _lowest()
_PLACE = np.arange(BITS) % CHUNKS * CHUNK_BITS + np.arange(BITS) // CHUNKS  # every chunk has low and high frequencies
_WEIGHTS = np.left_shift(np.uint64(1), _PLACE.astype(np.uint64))
_K = np.arange(SIDE)
_COSINES = np.sqrt(2 / SIDE) * np.cos(np.pi * _K[:, None] * (_K + 0.5) / SIDE)
_COSINES[0] /= np.sqrt(2)
_MOST = int(max(VERTICAL.max(), HORIZONTAL.max())) + 1


def coefficients(thumbs: Thumbnails, rows: NDArray[np.float64] | None = None,
                 columns: NDArray[np.float64] | None = None) -> NDArray[np.float32]:  # fmt: skip
    """The 64 lowest coefficients, without the mean, of the orthonormal cosine transform.

    Args:
        thumbs: (n, 32, 32).
        rows: (32, 32) resampling of the rows beforehand; None for none.
        columns: the same of the columns.

    Returns:
        (n, 64).
    """
    down = (_COSINES[:_MOST] if rows is None else _COSINES[:_MOST] @ rows).astype(np.float32)
    across = (_COSINES[:_MOST] if columns is None else _COSINES[:_MOST] @ columns).astype(np.float32)
    spectrum: NDArray[np.float32] = down @ thumbs.astype(np.float32) @ across.T
    return spectrum[:, VERTICAL, HORIZONTAL]


def packed(values: NDArray[np.float32]) -> Hashes:
    """(n,) hashes of (n, 64) coefficients."""
    found: Hashes = ((values > MARGIN) * _WEIGHTS).sum(1, dtype=np.uint64)
    return found


def hashes(thumbs: Thumbnails) -> tuple[Hashes, NDArray[np.bool_]]:
    """The (n,) hashes of thumbnails, and which of them are plain: too featureless for their hash to mean anything."""
    found, plain = np.empty(len(thumbs), np.uint64), np.empty(len(thumbs), bool)
    for at in range(0, len(thumbs), BATCH):
        values = coefficients(thumbs[at : at + BATCH])
        found[at : at + BATCH] = packed(values)
        plain[at : at + BATCH] = (np.abs(values) > FIRM).sum(1) < FIRM_BITS
    return found, plain


def edges() -> NDArray[np.float64]:
    """(17, 4): by how much of the side each view moves the top, bottom, left and right edge outwards."""
    moved = itertools.product((-STRETCH, STRETCH), repeat=4)
    return np.array([(0.0, 0.0, 0.0, 0.0), *moved])


def views(thumbs: Thumbnails) -> Hashes:
    """The hashes of every view of held-out images: as they are, cropped and widened by 3 %, and all that mirrored.

    An image cropped a little at any edge lies near one of them, and so does one that was cropped before
    it was held out.

    Returns:
        (34, n): the views of `edges`, then the same mirrored.
    """
    found = np.empty((2 * len(edges()), len(thumbs)), np.uint64)
    sign = np.where(HORIZONTAL % 2, -1, 1).astype(np.float32)  # mirrored, odd horizontal frequencies change sign
    for at in range(0, len(thumbs), BATCH):
        part = thumbs[at : at + BATCH]
        for k, (top, bottom, left, right) in enumerate(edges()):
            values = coefficients(part, stretch(top, bottom), stretch(left, right))
            found[k, at : at + BATCH] = packed(values)
            found[k + len(edges()), at : at + BATCH] = packed(values * sign)
    return found


def stretch(before: float, after: float) -> NDArray[np.float64]:
    """(32, 32): samples 32 pixels from `before` of their length ahead of the first to `after` beyond the last.

    Linear interpolation; what lies outside repeats the edge.
    """
    at = (-before + (1 + before + after) * (_K + 0.5) / SIDE) * SIDE - 0.5
    near: NDArray[np.float64] = 1 - np.abs(np.clip(at, 0, SIDE - 1)[:, None] - _K)
    return np.maximum(near, 0)
