"""What the solver is given: the form of the law, the centred data, the objective."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Space = Literal["log", "linear"]


class Objective(Protocol):
    """What the solver needs of an objective sum_i w_i rho(r_i)."""

    def rho(self, r: Array) -> Array:
        """Loss of a residual, elementwise."""

    def psi(self, r: Array) -> Array:
        """Derivative of rho."""

    def curvature(self, r: Array) -> Array:
        """Second derivative of rho (one-sided where it jumps)."""

    def weight(self, r: Array) -> Array:
        """psi(r) / r, its limit at 0: the weight of iteratively reweighted least squares."""

    def scaled(self, unit: float) -> Objective:
        """The same objective for residuals divided by `unit`."""


@dataclass(frozen=True)
class Form:
    """Which sum of power laws: has it a constant, and which variables (by index) enter each further term.

    theta = ([ln E,] ln A_1, a_11, ..., ln A_2, a_21, ...).
    """

    constant: bool
    terms: tuple[tuple[int, ...], ...]

    @property
    def n_terms(self) -> int:
        """Terms including the constant."""
        return len(self.terms) + self.constant

    @cached_property
    def blocks(self) -> tuple[tuple[int, tuple[int, ...]], ...]:
        """Per term, the constant first: index of its log amplitude in theta, and its variables; exponents follow."""
        blocks: list[tuple[int, tuple[int, ...]]] = [(0, ())] if self.constant else []
        at = len(blocks)
        for variables in self.terms:
            blocks.append((at, variables))
            at += 1 + len(variables)
        return tuple(blocks)

    @property
    def size(self) -> int:
        """Number of parameters."""
        return self.n_terms + sum(len(variables) for variables in self.terms)


@dataclass(frozen=True)
class Problem:
    """Centred data of a fit.

    Attributes:
        form: the sum of power laws.
        x: (variables, runs) centred and scaled logs.
        y: (runs,) centred log loss.
        centre, scale: (variables,) what was subtracted from the logs, then divided by.
        level: mean log loss, subtracted.
        objective: in the scaled units (`exp(level)` is the unit of linear residuals).
        space: where residuals are taken: ln L or L.
    """

    form: Form
    x: Array
    y: Array
    centre: Array
    scale: Array
    level: float
    objective: Objective
    space: Space

    @classmethod
    def of(cls, form: Form, logs: Array, log_loss: Array, objective: Objective, space: Space) -> Problem:
        """Centres `logs` (variables, runs) and `log_loss` (runs,)."""
        centre = logs.mean(axis=1)
        x = logs - centre[:, None]
        scale = np.sqrt((x * x).mean(axis=1))
        scale = np.where(scale > 0, scale, 1.0)
        level = float(log_loss.mean())
        unit = float(np.exp(level)) if space == "linear" else 1.0
        return cls(form, x / scale[:, None], log_loss - level, centre, scale, level, objective.scaled(unit), space)

    @property
    def value_unit(self) -> float:
        """Objective in the user's units per objective in scaled units: both objectives are quadratic at 0."""
        return float(np.exp(2 * self.level)) if self.space == "linear" else 1.0

    @cached_property
    def to_natural(self) -> tuple[Array, Array]:
        """(T, shift) with natural theta = T theta + shift."""
        T = np.eye(self.form.size)
        shift = np.zeros(self.form.size)
        for at, variables in self.form.blocks:
            shift[at] = self.level
            for j, v in enumerate(variables, start=at + 1):
                T[at, j] = self.centre[v] / self.scale[v]
                T[j, j] = 1 / self.scale[v]
        return T, shift

    def from_natural(self, theta: Array) -> Array:
        """Centred theta of natural theta (..., size)."""
        T, shift = self.to_natural
        return np.asarray(np.linalg.solve(T, (theta - shift).T).T)

    def logs(self, logs: Array) -> Array:
        """Centres and scales further logs (variables, points)."""
        return np.asarray((logs - self.centre[:, None]) / self.scale[:, None])
