"""How far beyond its runs a fit is asked, and what its interval leaves out there: that the law's form may change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scalelaw.fitting import quantities
from scalelaw.fitting.checks import asked_points
from scalelaw.fitting.warnings import FitWarning
from scalelaw.laws import Law, Repeated

if TYPE_CHECKING:
    from scalelaw.fitting.result import Fit

Array = NDArray[np.float64]

WARN_BEYOND = 2.0
"""Times beyond the runs from which an answer warns. In simulations of a law whose exponent breaks by .05 inside the
data, too little for residuals to show (as analysis/coverage.py --beyond draws them; grids of 120 and 256 runs, budgets
of 60 and 256, 1,000 draws each), 95 % intervals of the best size cover .95 to .97 at .3 of the largest compute, .91 to
.95 at it, .87 to .94 at twice, .82 to .92 at five times, .79 to .91 at ten times; with the true form .95 to .97."""
FLOP_PER_TOKEN = 6.0
"""k of the quantities that ask for none: those of transformers, C = 6 x parameters x tokens."""
ANSWERS = {"compute_for": "C", "data_for": "D", "matched_size": "N"}
"""Quantities that are themselves a variable of their law: how far they lie is part of how far they are asked."""
ROUNDING = 1e-9
"""A point this near to a run at the edge is at that run."""


@dataclass(frozen=True)
class Reach:
    """How far beyond the runs points lie.

    Attributes:
        factor: per point, the largest ratio to the largest run, or of the smallest run to it, over the variables and
            over size x data; 1.0 inside, inf where no finite value is reached, NaN where nothing can be said.
        edge: which edge the farthest point is farthest from, as `largest N D`.
    """

    factor: Array
    edge: str


def reach(runs: Mapping[str, Array], at: Mapping[str, ArrayLike]) -> Reach | None:
    """How far `at` lies beyond the runs; None where it names none of their variables.

    The range of each variable counts, and of N D, which compute is proportional to. A point inside all of these may
    still lie where no run is, as in an empty corner of a layout.

    Args:
        runs: letter -> (runs,) positive values.
        at: letter -> positive values, any shapes that broadcast, in the runs' units.
    """
    scaled = {letter: (values / values.max(), np.asarray(at[letter], float) / values.max())
              for letter, values in runs.items() if letter in at}  # fmt: skip
    if {"N", "D"} <= scaled.keys():
        (sizes, size), (data, seen) = scaled["N"], scaled["D"]
        scaled["N D"] = (sizes * data, size * seen)
    if not scaled:
        return None
    ratios = {}
    with np.errstate(divide="ignore"):
        for name, (values, place) in scaled.items():
            ratios[f"largest {name}"], ratios[f"smallest {name}"] = place / values.max(), values.min() / place
    apart = np.stack(np.broadcast_arrays(*ratios.values()))
    apart = np.where(apart <= 1 + ROUNDING, 1.0, apart)  # keeps NaN
    worst = np.fmax.reduce(apart.reshape(len(ratios), apart[0].size), axis=1, initial=0.0)
    edge = list(ratios)[int(np.argmax(np.where(np.isnan(worst), 0.0, worst)))]
    return Reach(np.asarray(np.fmax.reduce(apart)), edge)


def of(fit: Fit, name: str | None, at: Mapping[str, Any]) -> Reach | None:
    """How far beyond the runs of a fit a prediction (no name) or a derived quantity is asked; None for what is asked
    nowhere, as a parameter.

    Raises:
        UserError: for a name that the law does not have, or arguments that it does not take.
    """
    if name is None:
        place = dict(asked_points(fit.law, at))
    else:
        quantities.check(fit.law, name, at)
        place = _place(fit, name, at)
    runs = {letter: values[fit.weights > 0] for letter, values in fit.data.items() if letter in fit.law.variables}
    return reach(_counted(fit.law, runs), _counted(fit.law, place))


def cautions(found: Reach | None) -> tuple[FitWarning, ...]:
    """The warning `beyond the runs`, where the farthest point asks for it."""
    if found is None or np.isnan(found.factor).all():
        return ()
    factor = float(np.nanmax(found.factor))
    if factor < WARN_BEYOND * (1 - ROUNDING):
        return ()
    times = f"{factor:.3g}" if np.isfinite(factor) else "infinitely many"
    where = (
        f"{times} times the {found.edge}" if found.edge.startswith("largest") else f"1 / {times} of the {found.edge}"
    )
    sentence = (
        f"at {where} of the runs the interval holds only if the law's form does: in simulations an exponent that broke "
        "by .05 within the data, too little for residuals to show, left the truth in as few as 80 % of the 95 % "
        "intervals of the best size at 10 times the compute"
    )
    return (FitWarning("beyond the runs", sentence),)


def _place(fit: Fit, name: str, at: Mapping[str, Any]) -> dict[str, Any]:
    """Where in the law's variables a derived quantity is asked: at its arguments, at its own value where that is one of
    them, and for the best split of C = k N D at the best size and data."""
    law = fit.law
    place = {letter: values for letter, values in at.items() if letter in law.variables}
    if ANSWERS.get(name) in law.variables:
        place[ANSWERS[name]] = fit.estimate(name, **at)
    if "C" in at and "C" not in law.variables and "optimal_size" in law.derived:
        k = at.get("k", FLOP_PER_TOKEN)
        place["N"] = fit.estimate("optimal_size", C=at["C"], k=k)
        place["D"] = np.asarray(at["C"], float) / k / place["N"]
    return place


def _counted(law: type[Law], values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Unique data count up to the data seen, where the law takes them so."""
    if issubclass(law, Repeated) and {"D", "U"} <= values.keys():
        return {**values, "U": np.minimum(values["D"], values["U"])}
    return values
