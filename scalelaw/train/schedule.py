"""One run's schedule, and how the learning rate moves in it: one cosine over the whole run, after a linear warm-up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from scalelaw.train.data import Order
from scalelaw.train.meter import Meter

TRACE_ROWS = 64  # about so many rows of a run's trace, whatever its length


class Held(Exception):
    """The run is where it is to be held; its checkpoint and trace are in place."""


@dataclass(frozen=True)
class Schedule:
    """One run's schedule.

    Attributes:
        order: which example comes when.
        peak_lr: learning rate at the end of warm-up.
        evaluations: how many, evenly spaced, the last at the end.
        seed: of the initial weights.
        meter: what images cost, for the trace.
        trace_rows: about so many rows in the trace, besides those of the evaluations.
        stop_at: share of the schedule at whose next evaluation the run is held, with a checkpoint; None for never.
    """

    order: Order
    peak_lr: float
    evaluations: int
    seed: int
    meter: Meter
    trace_rows: int = TRACE_ROWS
    stop_at: float | None = None


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
