"""From gradients to new weights: clipping by unit, decay of kernels, Nesterov's momentum, averaged weights.

Brock, De, Smith, Simonyan 2021 (arXiv 2102.06171), section 4 and appendix A.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax

from scalelaw.sweep.recipes import Recipe

Params = Mapping[str, Any]  # nested dicts of arrays, leaves named as in the published checkpoints
HEAD_KERNEL = ("linear", "w")
SMALL = 1e-6  # a gradient's norm counts as no less where it is divided by, as in optax
TINY = 1e-30  # an ascent along a gradient of zero stays where it is
VECTORS = ("gain", "skip_gain", "bias", "b")


def clipped(params: Params) -> Any:
    """Mask, a tree of bools: every parameter but the head's kernel.

    Raises:
        ValueError: when no parameter has the head kernel's name, because then it would be clipped unnoticed.
    """
    mask = jax.tree_util.tree_map_with_path(lambda path, _: _names(path) != HEAD_KERNEL, params)
    if all(jax.tree.leaves(mask)):
        raise ValueError(f"no parameter is named {'/'.join(HEAD_KERNEL)}, the head's kernel, which must not be clipped")
    return mask


def decayed(params: Params) -> Any:
    """Mask, a tree of bools: the kernels, the head's too, but no gain and no bias."""
    return jax.tree_util.tree_map_with_path(lambda path, _: _names(path)[-1] not in VECTORS, params)


def optimizer(rules: Recipe) -> optax.GradientTransformation:
    """The transformation from gradients to the direction that a step goes against, learning rate left out.

    Leaving the rate to `step` makes it an input of the compiled program: one executable serves every learning rate.
    """
    return optax.chain(
        _clipping(rules),
        optax.add_decayed_weights(rules.weight_decay, mask=decayed),
        optax.trace(decay=rules.momentum, nesterov=True),
    )


def _clipping(rules: Recipe) -> optax.GradientTransformation:
    """optax.adaptive_grad_clip for all but the head's kernel, of equal numbers, in a tenth of its time to trace.

    Tracing is most of what a worker waits for where a shape's programs come from the cache.
    """

    def clip(use: bool, g: jax.Array, p: jax.Array) -> jax.Array:
        if not use:
            return g
        norm, size = _units(g), _units(p)
        limit = lax.mul(lax.max(size, lax.full_like(size, rules.clipping_eps)), lax.full_like(size, rules.clipping))
        share = lax.div(limit, lax.max(norm, lax.full_like(norm, SMALL)))
        share = lax.select(lax.lt(norm, limit), lax.full_like(share, 1), share)
        return lax.mul(g, lax.broadcast_in_dim(share, g.shape, range(g.ndim - share.ndim, g.ndim)))

    return optax.stateless(lambda grads, params: jax.tree.map(clip, clipped(params), grads, params))


def ascended(params: Any, gradients: Any, radius: float) -> Any:
    """params + radius * gradients / |gradients|, the first of the two steps of Foret et al. 2021 (arXiv 2010.01412).

    Its second step takes the gradients there, and goes against them from `params`.
    """
    norm = optax.tree.norm(gradients)
    share = radius / jnp.maximum(norm, TINY)
    return jax.tree.map(lambda p, g: p + share.astype(p.dtype) * g, params, gradients)


def step(params: Any, direction: Any, lr: jax.Array | float) -> Any:
    """params - lr * direction."""
    return jax.tree.map(
        lambda p, d: lax.sub(p, lax.mul(d, lax.full_like(d, jnp.asarray(lr, p.dtype)))), params, direction
    )


def average(ema: Any, params: Any, decay: float, step: jax.Array) -> Any:
    """The averaged weights after one more step: decay * ema + (1 - decay) * params.

    Early on the decay is only (1 + t) / (10 + t) after t steps, so that the start is soon forgotten; DeepMind's
    published experiments average so.
    """
    t = step.astype(jnp.float32)
    kept = jnp.minimum(decay, (1 + t) / (10 + t))
    return jax.tree.map(lambda e, p: e + (1 - kept).astype(p.dtype) * (p - e), ema, params)


def measure(rules: Recipe, grads: Params, params: Params) -> dict[str, jax.Array]:
    """What is worth watching: `gradient_norm`, before clipping, `parameter_norm`, and `clipped_share` of units.

    The norms are over all parameters. A unit is an output channel of a kernel, or a whole vector; its norms are what
    clipping needs too, so that in the program of a training step they are computed once.
    """
    used = jax.tree.leaves(clipped(params))
    first = sorted(range(len(used)), key=lambda k: not used[k])  # what is clipped

    def units(tree: Params) -> list[jax.Array]:
        leaves = jax.tree.leaves(tree)
        return [_units(leaves[k]).ravel() for k in first]

    apart = units(grads), units(params)
    g, p = map(jnp.concatenate, apart)
    excess = g > rules.clipping * jnp.maximum(p, rules.clipping_eps)
    return {
        "gradient_norm": jnp.sqrt(jnp.sum(jnp.square(g))),
        "parameter_norm": jnp.sqrt(jnp.sum(jnp.square(p))),
        "clipped_share": jnp.mean(excess[: sum(unit.size for unit in apart[0][: sum(used)])], dtype=jnp.float32),
    }


def _names(path: tuple[Any, ...]) -> tuple[str, ...]:
    return tuple(str(getattr(key, "key", key)) for key in path)


def _units(x: jax.Array) -> jax.Array:
    """One norm per unit; vectors, and kernels that are vectors but for dimensions of one, are a single unit."""
    x = jnp.asarray(x)
    alone = sum(size > 1 for size in x.shape) <= 1
    axes = range(x.ndim) if alone else (0,) if x.ndim <= 3 else range(x.ndim - 1)
    return lax.sqrt(lax.reduce_sum(lax.mul(x, x), axes=tuple(axes)))
