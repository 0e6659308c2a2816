"""Known worlds, pilot sweeps drawn from them, and the usual ways to spend compute after one: for next_runs.py."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from scalelaw import newton
from scalelaw.fitting import LeastSquares
from scalelaw.laws import SizeData
from scalelaw.plan.average import mean_of_forms
from scalelaw.plan.average.posterior import Runs
from scalelaw.plan.design.worlds import WANTED

Array = np.ndarray[Any, np.dtype[np.float64]]
STEP = np.log(2)
SIZES = STEP * np.arange(16)
"""ln of the sizes that can be built, in units of the smallest."""
GRID = np.stack([np.repeat(SIZES[4:9], 5), np.tile(STEP * np.arange(5), 5)])
PILOT = np.concatenate([GRID, np.repeat(GRID[:, [0, 6, 12]], 2, axis=1)], axis=1)
SETTINGS = np.r_[np.arange(25), np.repeat([0, 6, 12], 2)]
TARGET = PILOT.sum(axis=0).max() + np.log(64)
MIDDLE = SIZES[6], STEP * 2
FLOOR, LOSS, TOTAL, MIXED = 0.2, 1.6, 0.9, 0.15
FORM = newton.Form(True, ((0,), (1,)))
ADDITIVE = SizeData(E=1.0, A=1.0, B=1.0, alpha=1.0, beta=1.0)
"""The loss is the sum itself; its numbers are not used."""


@dataclass(frozen=True)
class World:
    """A truth: exponent of the best size, noise and size effects in ln L, and the kind of surface."""

    exponent: float
    noise: float
    kind: str = "additive"
    size_effect: float = 0.0

    def __str__(self) -> str:
        effect = f", size effects {self.size_effect:g}" if self.size_effect else ""
        return f"{self.kind}, exponent {self.exponent:g}, noise {self.noise:g}{effect}"

    def log_loss(self, x: Array) -> Array:
        """(points,) ln L at logs (2, points); loss 1.6 at the pilot's middle, where the best size is the middle one."""
        alpha, beta = TOTAL * (1 - self.exponent), TOTAL * self.exponent
        n, d = x[0] - MIDDLE[0], x[1] - MIDDLE[1]
        excess = LOSS - FLOOR
        A, B = excess * beta / TOTAL, excess * alpha / TOTAL
        L = FLOOR + A * np.exp(-alpha * n) + B * np.exp(-beta * d)
        if self.kind == "interaction":  # size and data do not add up
            L = L + MIXED * excess * np.exp(-0.3 * n - 0.1 * d)
        if self.kind == "turned":  # an interaction that falls with data rather than with size
            L = L + MIXED * excess * np.exp(-0.1 * n - 0.3 * d)
        if self.kind == "broken":  # the exponent of size falls by .1 above the pilot's sizes
            L = L + A * np.exp(-alpha * n) * ((1 + np.exp(2 * (x[0] - SIZES[8]))) ** 0.05 - 1)
        return np.asarray(np.log(L))

    def answers(self) -> dict[str, float]:
        """The true best size, lowest loss and exponent (over a factor of e) at the target."""
        at, below, above = (self._best(TARGET + shift) for shift in (0, -0.5, 0.5))
        return {"size": at[0], "loss": at[1], "exponent": above[0] - below[0]}

    def _best(self, work: float) -> tuple[float, float]:
        u = np.linspace(SIZES[0] - 3, SIZES[-1] + 5, 40_001)
        y = self.log_loss(np.stack([u, work - u]))
        return float(u[np.argmin(y)]), float(y.min())


WORLDS = [
    World(0.3, 0.01), World(0.5, 0.003), World(0.5, 0.01), World(0.5, 0.03), World(0.7, 0.01),
    World(0.5, 0.01, size_effect=0.01), World(0.5, 0.01, "interaction"), World(0.3, 0.003, "interaction"),
    World(0.5, 0.01, "broken"), World(0.7, 0.003, "broken"),
]  # fmt: skip


def sizes_of(x: Array) -> Any:
    """(points,) number of each point's size."""
    return np.rint(x[0] / STEP).astype(int)


def fitted(x: Array, y: Array, weights: Array) -> Array:
    """(rows, 5) ln E, ln A, ln B (-inf for dead terms), alpha, beta of least-squares fits to y (rows, points).

    The best of four starts each.
    """
    problem = newton.SumProblem.of(FORM, x, np.full(x.shape[1], y.mean()), LeastSquares(), "log")
    y = y - problem.level
    middle = (weights * y).sum(axis=1) / weights.sum(axis=1)
    lowest = np.where(weights > 0, y, np.inf).min(axis=1)
    best: dict[str, Any] = {}
    for a, b in ((0.3, 0.3), (0.6, 0.25), (0.25, 0.6), (0.5, 0.5)):
        exponents = np.tile([a * problem.scale[0], b * problem.scale[1]], (len(y), 1))
        start = np.stack([lowest - 1.5, middle - 0.9, exponents[:, 0], middle - 0.9, exponents[:, 1]], axis=1)
        found = vars(newton.solve(problem, start, weights, y=y, threads=1))
        better = found["value"] < best["value"] if best else np.ones(len(y), bool)
        for name, values in found.items():
            best.setdefault(name, values.copy())[better] = values[better]
    theta, alive = problem.natural(best["theta"]), best["alive"]
    for term, column in enumerate((0, 1, 3)):
        theta[~alive[:, term], column] = -np.inf
    return np.asarray(theta[:, [0, 1, 3, 2, 4]])


def log_loss_of(theta: Array, x: Array) -> Array:
    """(rows, points) of fits at logs (2, points) or (2, rows, points)."""
    e, a, b, alpha, beta = (column[:, None] for column in theta.T)
    with np.errstate(invalid="ignore", over="ignore"):
        terms = [np.where(np.isfinite(c), np.exp(c - s * v), 0.0) for c, s, v in ((a, alpha, x[0]), (b, beta, x[1]))]
    return np.asarray(np.log(np.exp(e) + terms[0] + terms[1]))


def answers(theta: Array, work: float = TARGET) -> dict[str, Array]:
    """(rows,) what fits say at a target, of the sizes that can be built."""
    u = np.linspace(SIZES[0], SIZES[-1], 601)
    y = log_loss_of(theta, np.stack([u, work - u]))
    y = np.where(np.isfinite(y), y, np.inf)
    alpha, beta = np.maximum(theta[:, 3], 1e-9), np.maximum(theta[:, 4], 1e-9)
    return {"size": u[np.argmin(y, axis=1)], "loss": y.min(axis=1), "exponent": beta / (alpha + beta)}


def equal_compute(budgets: int, sizes: int, factor: float) -> Callable[[Array, float], tuple[Array, Array] | None]:
    """Sizes a factor 2 apart about each pilot's optimum at budgets a factor apart: points, counts (draws, points).

    None where the smallest budget lies below the pilot's cheapest run.
    """

    def design(theta: Array, spend: float) -> tuple[Array, Array] | None:
        top = TARGET + np.log(spend / (sizes * (factor ** -np.arange(float(budgets))).sum()))
        works = top - np.log(factor) * np.arange(budgets)
        if works[-1] < PILOT.sum(axis=0).min():
            return None
        points, counts = [], []
        for work in works:
            half = sizes // 2
            middle = np.clip(np.rint(answers(theta, work)["size"] / STEP).astype(int), half, len(SIZES) - 1 - half)
            of = np.zeros((len(theta), len(SIZES)))
            for k in range(sizes):
                of[np.arange(len(theta)), middle + k - half] += 1
            points.append(np.stack([SIZES, work - SIZES]))
            counts.append(of)
        return np.concatenate(points, axis=1), np.concatenate(counts, axis=1)

    return design


EQUAL = {
    "4 budgets x 5 sizes, x2": equal_compute(4, 5, 2),
    "3 budgets x 5 sizes, x4": equal_compute(3, 5, 4),
    "5 budgets x 5 sizes, x4": equal_compute(5, 5, 4),
    "2 budgets x 7 sizes, x2": equal_compute(2, 7, 2),
}
LARGEST = {"one run": equal_compute(1, 1, 2), "three sizes": equal_compute(1, 3, 2)}


@dataclass(frozen=True)
class Seen:
    """Pilots with the runs of a design: logs x (2, points), ln L y and numbers of runs, weights, (draws, points)."""

    x: Array
    y: Array
    weights: Array


def seen(world: World, y: Array, effects: Array, points: Array, counts: Array, rng: np.random.Generator) -> Seen:
    """Pilots y with counts (draws, p) of runs at points (2, p)."""
    new = world.log_loss(points) + effects[:, sizes_of(points)]
    new += world.noise * rng.standard_normal(counts.shape) / np.sqrt(np.maximum(counts, 1))
    x = np.concatenate([PILOT, points], axis=1)
    weights = np.concatenate([np.ones(y.shape), counts], axis=1)
    used = weights.max(axis=0) > 0
    return Seen(x[:, used], np.concatenate([y, new], axis=1)[:, used], weights[:, used])


def outcome(world: World, y: Array, effects: Array, points: Array, counts: Array, rng: np.random.Generator) -> Array:
    """(draws, 3) errors of the additive fit's answers after runs at points (2, p), counts (draws, p), beside pilots."""
    runs = seen(world, y, effects, points, counts, rng)
    found, true = answers(fitted(runs.x, runs.y, runs.weights)), world.answers()
    return np.stack([found[want] - true[want] for want in WANTED], axis=1)


def lowest_loss(world: World, runs: Seen, noise: Array) -> tuple[Array, Array]:
    """(draws,) errors of ln lowest loss as the mean over forms has it, and (draws,) whether its 95 % interval holds it.

    Args:
        world: the truth.
        runs: what was measured.
        noise: (draws,) of one run.
    """
    u = np.linspace(SIZES[0], SIZES[-1], 241)
    at = np.stack([u, TARGET - u])
    theta = fitted(runs.x, runs.y, runs.weights)
    found = mean_of_forms(ADDITIVE, Runs(runs.x, runs.y, runs.weights, noise), theta, at)
    best = found.log_loss.argmin(axis=1)
    off, sd = (np.take_along_axis(v, best[:, None], axis=1)[:, 0] for v in (found.log_loss, found.sd))
    off = off - world.answers()["loss"]
    return off, np.abs(off) <= 1.96 * sd


def noise_of(y: Array) -> Array:
    """(draws,) standard deviation of a run by what the additive fit to a pilot leaves."""
    left = y - log_loss_of(fitted(PILOT, y, np.ones_like(y)), PILOT)
    return np.asarray(np.sqrt((left**2).sum(axis=1) / (y.shape[1] - 5)))


def pilots(world: World, draws: int, seed: int) -> tuple[Array, Array]:
    """(draws, runs) ln L of pilots, and (draws, sizes) effects of sizes."""
    rng = np.random.default_rng([seed, *str(world).encode()])
    effects = world.size_effect * rng.standard_normal((draws, len(SIZES)))
    y = world.log_loss(PILOT) + effects[:, sizes_of(PILOT)]
    return y + world.noise * rng.standard_normal(y.shape), effects


def rms(error: Array) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(error**2)))
