"""Whether two thumbnails show the same image: their edges' correlation, once one is laid over the other.

Low frequencies alone make many different images alike (light from above, an object in the middle). So what counts is
the correlation of gradients, after the shift and zoom of a crop have been undone by Gauss-Newton steps (Lucas, Kanade
1981).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from scalelaw.dedup.search import cores
from scalelaw.dedup.thumbnails import SIDE, Thumbnails

LEAST = 0.75
"""Correlation from which on two images are one: see analysis/near_duplicates.md for what was measured."""
STEPS, FARTHEST = 4, 0.12
"""Steps of the alignment; how far an edge may be moved, as a share of the side."""
HOPEFUL = 0.4
"""Pairs below it after one step are aligned no further: of measured copies none was."""
BATCH = 64
Floats = NDArray[np.float32]
_K = ((np.arange(SIDE) + 0.5) / SIDE).astype(np.float32)
_PIXELS = np.arange(SIDE, dtype=np.float32)


def correlations(first: Thumbnails, second: Thumbnails, edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """The correlation of each pair, from -1 to 1.

    Args:
        first: (n, 32, 32).
        second: (n, 32, 32), already mirrored where the pair is.
        edges: (n, 4) where to begin: by how much of the side the top, bottom, left and right edge of `second` move
            outwards to meet those of `first`.
    """
    found = np.empty(len(first))

    def batch(at: int) -> None:
        part = slice(at, at + BATCH)
        a, b = _smooth(first[part].astype(np.float32)), _smooth(second[part].astype(np.float32))
        here = edges[part].astype(np.float32)
        values, here = _aligned(a, b, here, 1)
        hopeful = values >= HOPEFUL
        if hopeful.any():
            values[hopeful], _ = _aligned(a[hopeful], b[hopeful], here[hopeful], STEPS - 1)
        found[part] = values

    with ThreadPoolExecutor(cores()) as pool:
        list(pool.map(batch, range(0, len(first), BATCH)))
    return found


def _aligned(first: Floats, second: Floats, edges: Floats, steps: int) -> tuple[NDArray[np.float64], Floats]:
    """Correlations and edges after some steps."""
    moved, seen = _resampled(second, edges)
    for _ in range(steps):
        edges = np.clip(edges + _step(first, moved, seen, edges), -FARTHEST, FARTHEST)
        moved, seen = _resampled(second, edges)
    return _correlation(first, moved, seen), edges


def _resampled(images: Floats, edges: Floats) -> tuple[Floats, Floats]:
    """Images with moved edges, linearly interpolated, and 1 where a pixel lies inside of the old ones and not on
    the rim, where gradients are one-sided."""
    down, inside_down = _sampling(edges[:, 0], edges[:, 1])
    across, inside_across = _sampling(edges[:, 2], edges[:, 3])
    moved = np.asarray(down @ images @ across.transpose(0, 2, 1), np.float32)
    seen: Floats = inside_down[:, :, None] * inside_across[:, None, :]
    return moved, seen


def _sampling(before: Floats, after: Floats) -> tuple[Floats, Floats]:
    """(n, 32, 32) weights and (n, 32) whether a sample has its neighbours inside."""
    at = (-before[:, None] + (1 + before + after)[:, None] * _K) * SIDE - 0.5
    inside = (at >= 0.5) & (at <= SIDE - 1.5)
    inside[:, [0, -1]] = False
    near: Floats = 1 - np.abs(np.clip(at, 0, SIDE - 1)[:, :, None] - _PIXELS)
    return np.maximum(near, np.float32(0)), inside.astype(np.float32)


def _step(first: Floats, moved: Floats, seen: Floats, edges: Floats) -> Floats:
    """One Gauss-Newton step of the four edges, with gain and offset of the light solved beside them."""
    n = len(first)
    height, width = 1 + edges[:, 0] + edges[:, 1], 1 + edges[:, 2] + edges[:, 3]
    slopes = _gradient(moved) * SIDE
    down, across = slopes[0] / height[:, None, None], slopes[1] / width[:, None, None]
    terms = np.stack([
        down * (_K - 1)[:, None], down * _K[:, None], across * (_K - 1), across * _K, moved, np.ones_like(moved),
    ], 1).reshape(n, 6, -1)  # fmt: skip
    weighted = terms * seen.reshape(n, 1, -1)
    normal = weighted @ terms.transpose(0, 2, 1)
    scale = np.trace(normal, axis1=1, axis2=2)[:, None, None]
    normal += (1e-6 * scale + 1e-2) * np.eye(6, dtype=np.float32)
    solved = np.linalg.solve(normal.astype(np.float64), (weighted @ first.reshape(n, -1, 1)).astype(np.float64))[..., 0]
    gain = solved[:, 4:5]
    return np.clip(solved[:, :4] / np.where(np.abs(gain) > 0.2, gain, 1), -0.03, 0.03).astype(np.float32)


def _correlation(first: Floats, moved: Floats, seen: Floats) -> NDArray[np.float64]:
    """Of the gradients, where both images are seen; 0 where one has none."""
    a, b = _gradient(first) * seen, _gradient(moved) * seen

    def dot(x: Floats, y: Floats) -> NDArray[np.float64]:
        return np.asarray(np.einsum("dnij,dnij->n", x, y), np.float64)

    return np.clip(dot(a, b) / np.maximum(np.sqrt(dot(a, a) * dot(b, b)), 1e-3), -1.0, 1.0)  # sums are rounded apart


def _gradient(images: Floats) -> Floats:
    """(2, n, 32, 32): downwards and across; 0 on the rim."""
    found = np.zeros((2, *images.shape), np.float32)
    found[0, :, 1:-1] = (images[:, 2:] - images[:, :-2]) / 2
    found[1, :, :, 1:-1] = (images[:, :, 2:] - images[:, :, :-2]) / 2
    return found


def _smooth(images: Floats) -> Floats:
    """Weights 1 2 1 both ways: what is finer, a small copy has lost."""
    for axis in (1, 2):
        after = np.concatenate([images.take(range(1, SIDE), axis), images.take([SIDE - 1], axis)], axis)
        before = np.concatenate([images.take([0], axis), images.take(range(SIDE - 1), axis)], axis)
        images = (2 * images + before + after) / 4
    return images
