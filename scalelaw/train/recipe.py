"""Named training recipes: what is clipped, decayed and accumulated, and how the learning rate moves.

`pretrain` is Brock, De, Smith, Simonyan 2021 (arXiv 2102.06171), section 6.2 and appendix A.5.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from scalelaw.errors import UserError, nearest

Params = Mapping[str, Any]  # nested dicts of arrays, leaves named as in the published checkpoints
HEAD_KERNEL = ("linear", "w")
VECTORS = ("gain", "skip_gain", "bias", "b")


@dataclass(frozen=True)
class Recipe:
    """Everything of an optimizer but its learning rate.

    Attributes:
        weight_decay: multiple of a kernel added to its gradient, after clipping.
        momentum: of Nesterov's accumulator.
        clipping, clipping_eps: a unit's gradient norm is held to clipping * max(norm of the unit, clipping_eps).
        warmup_share: part of the steps with a rising rate. The paper gives none for pre-training; our choice.
        label_smoothing: probability spread evenly over all classes.
    """

    weight_decay: float
    momentum: float = 0.9
    clipping: float = 0.01
    clipping_eps: float = 1e-3
    warmup_share: float = 0.05
    label_smoothing: float = 0.0


RECIPES: dict[str, Recipe] = {"pretrain": Recipe(weight_decay=1e-6)}


def recipe(name: str) -> Recipe:
    """Looks a recipe up.

    Raises:
        UserError: for an unknown name, with the nearest one.
    """
    if name not in RECIPES:
        raise UserError(f"unknown recipe {name!r}{nearest(name, list(RECIPES))} (known: {', '.join(RECIPES)})")
    return RECIPES[name]


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


def optimizer(recipe: Recipe) -> optax.GradientTransformation:
    """The transformation from gradients to the direction that a step goes against, learning rate left out.

    Leaving the rate to `step` makes it an input of the compiled program: one executable serves every learning rate.
    """
    return optax.chain(
        optax.masked(optax.adaptive_grad_clip(recipe.clipping, eps=recipe.clipping_eps), clipped),
        optax.add_decayed_weights(recipe.weight_decay, mask=decayed),
        optax.trace(decay=recipe.momentum, nesterov=True),
    )


def step(params: Any, direction: Any, lr: jax.Array | float) -> Any:
    """params - lr * direction."""
    return jax.tree.map(lambda p, d: p - jnp.asarray(lr, p.dtype) * d, params, direction)


def measure(recipe: Recipe, grads: Params, params: Params) -> dict[str, jax.Array]:
    """Two scalars worth watching: `gradient_norm` over all parameters, before clipping, and `clipped_share` of units.

    A unit is an output channel of a kernel, or a whole vector. In the program of a training step XLA shares the norms
    with the optimizer.
    """
    excess = jax.tree.map(
        lambda use, g, p: _units(g) > recipe.clipping * jnp.maximum(_units(p), recipe.clipping_eps) if use else None,
        clipped(params), grads, params,
    )  # fmt: skip
    flags = jnp.concatenate([unit.ravel() for unit in jax.tree.leaves(excess)])
    return {"gradient_norm": optax.tree.norm(grads), "clipped_share": jnp.mean(flags, dtype=jnp.float32)}


def learning_rate(step: Any, steps: int, peak_lr: float, warmup_share: float) -> Any:
    """Linear warm-up, then a cosine to zero (Loshchilov, Hutter 2017).

    With w = floor(warmup_share * steps), step t (counted from 0) has peak * (t + 1) / (w + 1) while t < w, and then
    peak * (1 + cos(pi (t - w) / (steps - w))) / 2: the peak at t = w, zero right after the last step.

    Args:
        step: t; a number or NumPy array (evaluated on the host) or a jax array, traced or not.
        steps: length of the whole schedule.
        peak_lr: highest rate.
        warmup_share: at least 0 and less than 1.
    """
    xp: Any = jnp if isinstance(step, jax.Array) else np
    warmup = int(warmup_share * steps)
    rising = (step + 1) / (warmup + 1)
    falling = 0.5 * (1 + xp.cos(np.pi * (step - warmup) / (steps - warmup)))
    return peak_lr * xp.where(step < warmup, rising, falling)


def _names(path: tuple[Any, ...]) -> tuple[str, ...]:
    return tuple(str(getattr(key, "key", key)) for key in path)


def _units(x: jax.Array) -> jax.Array:
    """One norm per unit; vectors, and kernels that are vectors but for dimensions of one, are a single unit."""
    axes = None if jnp.squeeze(x).ndim <= 1 else 0 if x.ndim <= 3 else tuple(range(x.ndim - 1))
    return jnp.sqrt(jnp.sum(jnp.square(x), axis=axes))
