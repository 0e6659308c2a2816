"""Worlds of next_runs.py as one linear model: the additive law and the departures of two other forms from it."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

import next_runs
import numpy as np
from c_optimal import least
from designs import EQUAL, LARGEST, PILOT, SIZES, TARGET, Array, World, sizes_of
from next_runs_oracle import Truth

from scalelaw.plan.design.information import PRIOR
from scalelaw.plan.design.worlds import Want

FORMS = ("interaction", "broken")
WORLDS_IN = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
"""Amplitudes of both forms in the worlds additive, interaction and broken."""
LADDER = 2.0 ** np.arange(-10, 2.01, 0.0625)
LAYOUTS = {**LARGEST, **EQUAL}


class Model:
    """ln L in units of noise, linear in five parameters, the forms' amplitudes and, where there are any, size effects.

    Attributes:
        world: the additive world.
        c: (unknowns,) what is asked.
        pilot: (runs, unknowns) rows of the pilot.
    """

    def __init__(self, world: World, want: Want = "loss") -> None:
        self.world = world
        self.base = Truth.of(world)
        self.forms = [Truth.of(replace(world, kind=kind)) for kind in FORMS]
        shifts = [one.world.answers()[want] - float(one.law.answer(want, TARGET)[0]) for one in self.forms]
        effects = np.zeros(len(SIZES) if world.size_effect else 0)
        self.c = np.r_[self.base.law.gradient(want, TARGET)[0], shifts, effects]
        self.pilot = self.rows(PILOT)

    def rows(self, x: Array) -> Array:
        """(points, unknowns) of points (2, points)."""
        parts = [self.base.law.jacobian(x)[0], np.stack([one.at(x)[1] for one in self.forms], axis=1)]
        if self.world.size_effect:
            parts.append(np.eye(len(SIZES))[sizes_of(x)])
        return np.concatenate(parts, axis=1) / self.world.noise

    def prior(self, variances: Array) -> Array:
        """(unknowns,) variances."""
        effects = np.full(len(self.c) - 7, self.world.size_effect**2)
        return np.r_[PRIOR**2, np.maximum(variances, 1e-9), effects]

    def known(self, variances: Array) -> Array:
        """Precision after the pilot."""
        return np.diag(1 / self.prior(variances)) + self.pilot.T @ self.pilot

    def error(self, rows: Array, counts: Array, known: Array | None) -> tuple[Array, Array]:
        """Variance of noise, and (unknowns,) what an unknown of 1 adds to the error of the estimate of this `known`.

        Without it of the additive fit.
        """
        rows, counts = np.concatenate([self.pilot, rows]), np.r_[np.ones(len(self.pilot)), counts]
        if known is None:
            gram = np.diag(PRIOR**-2) + (rows[:, :5] * counts[:, None]).T @ rows[:, :5]
            v = np.r_[np.linalg.solve(gram, self.c[:5]), np.zeros(len(self.c) - 5)]
        else:
            gram = known - self.pilot.T @ self.pilot + (rows * counts[:, None]).T @ rows
            v = np.linalg.solve(gram, self.c)
        of_run = rows @ v
        return np.asarray((counts * of_run**2).sum()), self.c - (counts * of_run) @ rows

    def in_worlds(self, noise: Array, bias: Array) -> Array:
        """(..., 3) mean square errors in the three worlds, of `error`; over the five parameters' prior."""
        rest = noise + bias**2 @ np.r_[PRIOR**2, 0, 0, np.full(len(self.c) - 7, self.world.size_effect**2)]
        return np.asarray(rest[..., None] + (bias[..., 5:7] @ WORLDS_IN.T) ** 2)

    @cached_property
    def laid(self) -> dict[str, list[tuple[Array, Array] | None]]:
        """Rows and counts of every other design along the ladder."""
        found: dict[str, list[tuple[Array, Array] | None]] = {}
        for name, design in LAYOUTS.items():
            layouts = [design(self.base.theta, spend) for spend in LADDER]
            found[name] = [one and (self.rows(one[0][:, one[1][0] > 0]), one[1][0][one[1][0] > 0]) for one in layouts]
        return found

    def curves(self, name: str, known: Array | None) -> tuple[Array, Array]:
        """Of a design along the ladder: variances of noise, inf where it cannot be laid, and biases."""
        found = [(np.array(np.inf), np.zeros(len(self.c))) if one is None else self.error(*one, known)
                 for one in self.laid[name]]  # fmt: skip
        return np.stack([one[0] for one in found]), np.stack([one[1] for one in found])

    def bound(self, variances: Array, spend: float, most: int | None) -> float:
        """A mean square below which nothing gets."""
        cells = next_runs.grid_of(spend)
        return least(self.c, self.known(variances), self.rows(cells), np.exp(cells.sum(0) - TARGET), spend, most)
