"""What a design rests on: the runs so far, the surface through them, and the surfaces they allow."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from scalelaw.errors import UserError
from scalelaw.fitting import Fit
from scalelaw.frontiers.chance import chance_loss
from scalelaw.frontiers.surface import fit_surface
from scalelaw.laws import Split
from scalelaw.plan.design.scales import Replicates, replicates
from scalelaw.plan.design.worlds import Want, Worlds
from scalelaw.runs import RunTable

Array = NDArray[np.float64]

WORLDS = 27
"""Surfaces that a design is averaged over."""
FEWEST_WORLDS = 9
STEEPEST, FLATTEST = 2.0, 0.02
"""Surfaces with an exponent beyond these are left out: none so steep or flat has been seen."""
HIGHEST = 10.0
"""E + A N^-alpha + B D^-beta of a run at the loss of guessing or above, of which nothing is known, over its loss."""
SORTED = ("macs_per_image", "images_seen", "val_loss")
"""What every run must have, and runs are sorted by."""
FEWEST_SETTINGS = 5
"""A surface has as many parameters."""


@dataclass(frozen=True, eq=False)
class Basis:
    """The runs so far.

    Attributes:
        runs: all seeds at each cell's best learning rate.
        left_out: finished runs without a positive, finite size, number of images and loss.
        x: (2, runs) ln multiply-adds per image and ln images seen.
        settings: (runs,) number of each run's cell and learning rate; replicates share it.
        replicates: what those say of the noise.
        surface: the fit to them.
        worlds: surfaces that they allow.
        assumed: how many of the worlds are assumed ones, for want of enough that the runs allow.
    """

    runs: RunTable
    left_out: int
    x: Array
    settings: NDArray[np.int64]
    replicates: Replicates
    surface: Fit
    worlds: Worlds
    assumed: int

    def estimate(self, want: Want, flop: float) -> float | None:
        """The fit's answer at a target; None where it has none."""
        law = self.surface.fitted
        assert isinstance(law, Split)
        if not (law.alpha > 0 and law.beta > 0 and law.A > 0 and law.B > 0):
            return None
        if want == "exponent":
            return law.size_exponent
        return float(np.log(law.optimal_size(flop, 6.0) if want == "size" else law.optimal_loss(flop, 6.0)))


def basis_of(runs: RunTable, seed: int) -> Basis:
    """The basis of a sweep.

    Raises:
        UserError: without finished runs or multiply-adds per image, or with too few settings.
    """
    done = _finished(runs)
    kept = _in_order(_at_best_rates(done))
    macs, images = (kept.column(name).astype(float) for name in SORTED[:2])
    x = np.log(np.stack([macs, images]))
    names = [kept.cells().to_numpy()] + ([kept.column("peak_lr").astype(float)] if kept.has("peak_lr") else [])
    settings = np.unique(np.stack(names), axis=1, return_inverse=True)[1].ravel()
    count = len(np.unique(x, axis=1).T)
    if count < FEWEST_SETTINGS or any(len(np.unique(axis)) < 2 for axis in x):
        raise UserError(
            f"{runs.source}: has {len(np.unique(x[0]))} sizes, {len(np.unique(x[1]))} lengths and {count} settings of "
            f"both; a plan needs 2, 2 and {FEWEST_SETTINGS}: train two small sizes at a few lengths first"
        )
    loss = kept.val_loss.astype(float)
    surface = fit_surface(macs, images, loss, "best", chance_loss(kept))
    law = surface.fitted
    assert isinstance(law, Split)
    centre = (float(x[0].mean()), float(x[1].mean()))
    allowed = _allowed(surface, centre, seed)
    log_sum = np.log(np.minimum(law.sum_of(loss), HIGHEST * loss))
    assumed = _assumed(x, log_sum, centre)[: max(FEWEST_WORLDS - len(allowed), 0)]
    worlds = Worlds(np.concatenate([allowed, assumed])[:WORLDS], centre, law)
    noise = replicates(settings, np.log(loss))
    return Basis(kept, len(runs.finished()) - len(done), x, settings, noise, surface, worlds, len(assumed))


def _finished(runs: RunTable) -> RunTable:
    """The finished runs whose size, images and loss are known."""
    done = runs.finished()
    for name in SORTED:
        if not done.has(name):
            raise UserError(
                f"{runs.source}: has no {name} of a finished run; a plan needs each run's size, images, loss"
            )
    numbers = done.frame[list(SORTED)].astype(float)
    known = (np.isfinite(numbers) & (numbers > 0)).all(axis=1)
    if not known.any():
        raise UserError(f"{runs.source}: has no finished run with a size, images and a loss to plan from")
    return done if known.all() else done.where(known)


def _at_best_rates(done: RunTable) -> RunTable:
    """Of each cell the runs at the rate of lowest mean loss, all seeds of it."""
    if done.points != "all" or not done.has("peak_lr"):
        return done
    frame = done.frame.assign(_cell=done.cells())
    mean = frame.groupby(["_cell", "peak_lr"], dropna=False)["val_loss"].transform("mean")
    return done.where((mean <= mean.groupby(frame["_cell"]).transform("min")).to_numpy())


def _in_order(runs: RunTable) -> RunTable:
    """Sorted, so that redrawn residuals are those of the same runs however the rows of a table stand."""
    size, images, loss = (runs.column(name).astype(float) for name in SORTED)
    return replace(runs, frame=runs.frame.iloc[np.lexsort([loss, images, size])])


def _allowed(surface: Fit, centre: tuple[float, float], seed: int) -> Array:
    """(worlds, 5) refits to redrawn residuals that are surfaces with an optimum."""
    if surface.status == "failed" or surface.point.dof < 1:
        return np.empty((0, 5))
    drawn = surface.bootstrap(3 * WORLDS, "residual", seed, starts=1)
    theta = np.array(drawn.natural, float)[:, :5]
    with np.errstate(invalid="ignore"):
        usable = np.isfinite(theta[:, 1:]).all(axis=1)
        usable &= (theta[:, 3:] > FLATTEST).all(axis=1) & (theta[:, 3:] < STEEPEST).all(axis=1)
    theta = theta[usable][:WORLDS]
    theta[:, 1] -= theta[:, 3] * centre[0]
    theta[:, 2] -= theta[:, 4] * centre[1]
    return np.asarray(theta)


def _assumed(x: Array, log_sum: Array, centre: tuple[float, float]) -> Array:
    """(9, 5) surfaces with the mean sum S of the runs and exponents as they are often seen."""
    low, mean = float(log_sum.min()), float(log_sum.mean())
    floor = low - np.log(2)
    rest = float(np.log(np.exp(mean) - np.exp(floor)) - np.log(2))
    return np.array([[floor, rest, rest, a, b] for a in (0.45, 0.3, 0.6) for b in (0.45, 0.3, 0.6)])
