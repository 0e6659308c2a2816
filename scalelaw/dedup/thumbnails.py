"""What an image is compared by: a thumbnail of its luminance, 32 x 32 bytes, whatever its own size and shape."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

SIDE = 32
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""Weights of red, green and blue, ITU-R BT.601, as in JPEG."""

Thumbnails = NDArray[np.uint8]


def thumbnails(images: NDArray[np.generic]) -> Thumbnails:
    """Thumbnails of equally large images.

    Args:
        images: (n, height, width) luminance or (n, height, width, 3) colour, 0 to 255.

    Returns:
        (n, 32, 32): each the mean over its share of the image, or interpolated where the image is smaller.
    """
    grey = images.astype(np.float32)
    if grey.ndim == 4:
        grey = grey[..., 0] if grey.shape[3] == 1 else grey @ LUMA
    small = shrink(grey.shape[1]) @ grey @ shrink(grey.shape[2]).T
    return np.clip(np.rint(small), 0, 255).astype(np.uint8)


@lru_cache(maxsize=256)
def shrink(length: int) -> NDArray[np.float32]:
    """(32, length): averages `length` pixels over 32 equal stretches, or interpolates linearly where there are fewer.

    It is symmetric: the thumbnail of a mirrored image is the mirrored thumbnail.
    """
    if length < SIDE:
        at = np.clip((np.arange(SIDE) + 0.5) * length / SIDE - 0.5, 0, length - 1)
        near: NDArray[np.float64] = 1 - np.abs(at[:, None] - np.arange(length))
        return np.maximum(near, 0).astype(np.float32)
    edges = np.arange(SIDE + 1) * length / SIDE
    low = np.maximum(edges[:-1, None], np.arange(length))
    high = np.minimum(edges[1:, None], np.arange(1, length + 1))
    shared: NDArray[np.float64] = np.maximum(high - low, 0)
    return (shared * SIDE / length).astype(np.float32)
