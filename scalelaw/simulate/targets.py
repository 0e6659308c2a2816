"""True values of what is reported: exponents of the best size, of epochs and of the loss, and values at a budget."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scalelaw.errors import UserError
from scalelaw.laws import SizeData
from scalelaw.laws.base import line
from scalelaw.simulate.balance import Layout
from scalelaw.simulate.truth import Truth

Array = NDArray[np.float64]

POINTS = 33
"""Budgets, evenly spaced in ln C over the runs' compute, through which a curve's exponent is the least-squares line."""
BEYOND = 8.0
"""How far (in ln size) beyond the runs' sizes the best size is looked for."""


@dataclass(frozen=True)
class Target:
    """A quantity's true value, and whether errors in it are those of its logarithm."""

    value: float
    log: bool


def optimum(truth: Truth, layout: Layout, flop: float, unique: float | None = None) -> tuple[float, float]:
    """The size of the lowest loss at a budget, in multiply-adds, and that loss, at the best learning rate.

    `unique` images are at hand; the layout's number unless given.

    Raises:
        UserError: when loss falls up to the edge of what is searched, or is none, so that there is no best size.
    """
    from scipy.optimize import minimize_scalar

    none = UserError(
        f"simulate: law {truth.law.word!r} has no best size at {flop:.3g} FLOP near the sweep's; mend its numbers"
    )
    if isinstance(truth.law, SizeData) and truth.law.alpha > 0 and truth.law.beta > 0:
        found = float(truth.law.optimum(flop, k=6.0)[0]), float(truth.law.optimal_loss(flop, k=6.0))
        if not all(0 < value < np.inf for value in found):
            raise none
        return found

    at_hand = layout.unique_images if unique is None else unique

    def loss(log_size: NDArray[np.float64] | float) -> Array:
        macs = np.exp(np.asarray(log_size, float))
        return truth.best_loss(macs, flop / 6 / macs, at_hand)

    logs = np.log(layout.column("macs_per_image"))
    grid = np.linspace(logs.min() - BEYOND, logs.max() + BEYOND, 401)
    at = int(np.argmin(loss(grid)))
    if at in (0, len(grid) - 1):
        raise none
    lowest = minimize_scalar(
        lambda x: float(loss(x)), bounds=(grid[at - 1], grid[at + 1]), method="bounded", options={"xatol": 1e-10}
    )
    return float(np.exp(lowest.x)), float(lowest.fun)


def targets(truth: Truth, layout: Layout, flop: float) -> dict[str, Target]:
    """True values by name.

    Args:
        truth: the world.
        layout: the runs; curves that are no power laws have the exponent of a line through their range of compute.
        flop: the budget to predict for.

    Returns:
        size_exponent, epochs_exponent, loss_exponent, size_at_budget, loss_at_budget; alpha, beta and E where the law
        is a SizeData; rate_by_size, rate_by_epochs where learning rates matter.
    """
    compute = layout.column("train_flop")
    logs = np.linspace(np.log(compute.min()), np.log(compute.max()), POINTS)
    best = np.log([optimum(truth, layout, float(c)) for c in np.exp(logs)])
    size = line(logs, best[:, 0])[1]
    at, lowest = optimum(truth, layout, flop)
    found = {
        "size_exponent": Target(size, False),
        "epochs_exponent": Target(1 - size, False),
        "loss_exponent": Target(-line(logs, best[:, 1])[1], False),
        "size_at_budget": Target(at, True),
        "loss_at_budget": Target(lowest, True),
    }
    if isinstance(truth.law, SizeData):
        found |= {name: Target(truth.law.params[name], False) for name in ("alpha", "beta", "E")}
    if truth.rates is not None:
        found["rate_by_size"] = Target(truth.rates.by_size, False)
        found["rate_by_epochs"] = Target(truth.rates.by_epochs, False)
    return found
