"""Means over pixels: of windows side by side, and of whole images.

Their gradients are written out. By itself XLA shares a window's gradient out by adding up one image for every pixel of
the window, all but that pixel zero, which was 3 % of a step of N8.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float

from scalelaw.train.convolution import Images, Way


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def mean_pool(x: Images, window: tuple[int, int] = (2, 2)) -> Images:
    """The mean of every window, side by side, SAME: at an edge that cuts a window it is over the pixels that exist.

    Args:
        x: NHWC or CHWN.
        window: height and width; so far apart are the windows.
    """
    return _mean_pool_forward(x, window)[0]


def _mean_pool_forward(x: Images, window: tuple[int, int]) -> tuple[Images, tuple[int, int]]:
    pixels = x.shape[1], x.shape[2]
    x = jnp.pad(x, ((0, 0), *((0, -size % wide) for size, wide in zip(pixels, window, strict=True)), (0, 0)))
    x = functools.reduce(jnp.add, [x[:, k :: window[0]] for k in range(window[0])])
    x = functools.reduce(jnp.add, [x[:, :, k :: window[1]] for k in range(window[1])])
    return x / _counts(pixels, window, x.dtype), pixels


def _mean_pool_backward(window: tuple[int, int], pixels: tuple[int, int], gradient: Images) -> tuple[Images]:
    share = gradient / _counts(pixels, window, gradient.dtype)
    first, tall, wide, last = share.shape
    spread = jnp.broadcast_to(share[:, :, None, :, None], (first, tall, window[0], wide, window[1], last))
    return (spread.reshape(first, tall * window[0], wide * window[1], last)[:, : pixels[0], : pixels[1]],)


mean_pool.defvjp(_mean_pool_forward, _mean_pool_backward)


def _counts(pixels: tuple[int, int], window: tuple[int, int], dtype: DTypeLike) -> Float[Array, "height width 1"]:
    """How many pixels every window has."""
    rows, columns = (np.diff(np.r_[0:size:wide, size]) for size, wide in zip(pixels, window, strict=True))
    return jnp.asarray(np.outer(rows, columns)[..., None], dtype)


def pixel_mean(x: Images, way: Way) -> Float[Array, "batch channels"]:
    """The mean over all pixels; for `columns` [channels, batch], by a pool: before its own sum XLA writes out all that
    goes into it. The pool adds up in float32 at least, as that sum does."""
    if way != "columns":
        return jnp.mean(x, axis=(1, 2))
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    return mean_pool(wide, (x.shape[1], x.shape[2])).reshape(len(x), -1).astype(x.dtype)
