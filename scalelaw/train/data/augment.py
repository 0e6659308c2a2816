"""Augmentation of small images on the device, in the step: a pure function of (seed, epoch, index)."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from scalelaw.train.data.threefry import below, threefry2x32

STREAM = 0x617567  # "aug": keeps these draws apart from every other use of the same seed
PAD_SHARE = 8  # a crop moves by up to an eighth of the side: 4 pixels of CIFAR's 32


def key_of(seed: int, rows: int) -> NDArray[np.uint32]:
    """The key (uint32 [rows, 2]) that the run's seed gives to each of a batch's rows."""
    key = np.random.SeedSequence([STREAM, seed]).generate_state(2, np.uint32)
    return np.tile(key, (rows, 1))


def augmented(images: jax.Array, key: Any, epoch: Any, index: Any, *, crop: bool) -> jax.Array:
    """Mirrors each image with probability a half, and with `crop` moves it by up to an eighth of its side.

    What comes in from outside is 0, the mean colour of normalised images.

    Args:
        images: float32 [b, side, side, channels].
        key: uint32 [b, 2].
        epoch, index: integers [b].
    """
    key, side = jnp.asarray(key), images.shape[1]
    x, y = threefry2x32(key.T, jnp.asarray(epoch).astype(jnp.uint32), jnp.asarray(index).astype(jnp.uint32))
    images = jnp.where(((y & 1) == 1)[:, None, None, None], images[:, :, ::-1], images)
    pad = side // PAD_SHARE
    if not crop or not pad:
        return images
    padded = jnp.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    down, across = below(x, 2 * pad + 1), below(y, 2 * pad + 1)  # of the highest bits, while mirroring took the lowest
    shape = (side, side, images.shape[3])
    return jax.vmap(lambda image, i, j: jax.lax.dynamic_slice(image, (i, j, 0), shape))(padded, down, across)
