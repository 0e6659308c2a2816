"""Random bits by counter: word j of image i is a pure function of (seed, i, j), the same on every backend."""

from __future__ import annotations

import jax
import jax.numpy as jnp

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))


def threefry2x32(key: jax.Array, high: jax.Array, low: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Threefry-2x32 with 20 rounds (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").

    The cipher behind `jax.random`, written out because its rounds then fuse into the loop that uses the bits (jax
    rolls them on CPU) and because the layout of its counters is ours, hence stable.

    Args:
        key: uint32 [2].
        high, low: uint32 counters of shapes that broadcast.

    Returns:
        Two uint32 arrays of the common shape, independent uniform bits.
    """
    extended = (key[0], key[1], key[0] ^ key[1] ^ jnp.uint32(0x1BD11BDA))
    x, y = high + extended[0], low + extended[1]
    for turn in range(5):
        for rotation in ROTATIONS[turn % 2]:
            x = x + y
            y = x ^ ((y << rotation) | (y >> (32 - rotation)))
        x = x + extended[(turn + 1) % 3]
        y = y + extended[(turn + 2) % 3] + jnp.uint32(turn + 1)
    return x, y


def words(key: jax.Array, indices: jax.Array, count: int, start: int) -> jax.Array:
    """Random words of every image.

    Args:
        key: uint32 [2].
        indices: integers [b], the images.
        count: words per image.
        start: first counter; streams that must be independent take ranges that do not overlap.

    Returns:
        uint32 [b, count].
    """
    half = -(-count // 2)
    counters = jnp.arange(start, start + half, dtype=jnp.uint32)
    x, y = threefry2x32(key, indices.astype(jnp.uint32)[:, None], counters[None, :])
    return jnp.concatenate([x, y], axis=1)[:, :count]


def below(bits: jax.Array, bound: int) -> jax.Array:
    """Scales uniform bits to integers: floor(bits * bound / 2^32), exactly, in 32-bit arithmetic; bound < 2^16."""
    high, low = bits >> 16, bits & jnp.uint32(0xFFFF)
    product: jax.Array = (high * jnp.uint32(bound) + ((low * jnp.uint32(bound)) >> 16)) >> 16
    return product.astype(jnp.int32)
