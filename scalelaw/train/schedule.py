"""How the learning rate moves: one cosine over the whole run, after a linear warm-up."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def learning_rate(step: Any, steps: int, peak_lr: float, warmup: int) -> Any:
    """Linear warm-up, then a cosine to zero (Loshchilov, Hutter 2017).

    With w warm-up steps, step t (counted from 0) has peak * (t + 1) / (w + 1) while t < w, and then
    peak * (1 + cos(pi (t - w) / (steps - w))) / 2: the peak at t = w, zero right after the last step.

    Args:
        step: t; a number or NumPy array (evaluated on the host) or a jax array, traced or not.
        steps: length of the whole schedule.
        peak_lr: highest rate.
        warmup: w, less than `steps`.
    """
    xp: Any = jnp if isinstance(step, jax.Array) else np
    rising = (step + 1) / (warmup + 1)
    falling = 0.5 * (1 + xp.cos(np.pi * (step - warmup) / (steps - warmup)))
    return peak_lr * xp.where(step < warmup, rising, falling)
