"""Which runs are the largest: their cost, and the cut between what is fitted and what is held out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scalelaw.errors import UserError

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

_HAIR = 1e-9
"""Costs that differ by less than this share are equal, whatever the rounding of N D."""


@dataclass(frozen=True)
class Cost:
    """What runs are ranked by: its name, and (runs,) values in any unit, for only ratios count."""

    name: str
    values: Array

    def split(self, largest: float, factor: float) -> tuple[Mask, Mask]:
        """Runs to fit, at most largest / factor, and runs to hold out, between that and `largest`."""
        seen = self.values <= largest / factor * (1 + _HAIR)
        return seen, ~seen & (self.values <= largest * (1 + _HAIR))


def cost(letters: Sequence[str], data: Mapping[str, ArrayLike], compute: ArrayLike | None) -> Cost:
    """The given compute, else C, else N D, else the law's only variable.

    Args:
        letters: variables of the laws.
        data: letter -> (runs,) values; C may be there although no law asks for it.
        compute: (runs,) in any unit.

    Raises:
        UserError: where nothing says which run is larger.
    """
    given: dict[str, ArrayLike] = dict(data)
    if compute is not None:
        values, name = _numbers("compute", compute), "compute"
    elif "C" in given:
        values, name = _numbers("C", given["C"]), "C"
    elif "N" in given and "D" in given:
        values, name = np.exp(np.log(_numbers("N", given["N"])) + np.log(_numbers("D", given["D"]))), "N D"
    elif len(letters) == 1 and letters[0] in given:
        values, name = _numbers(letters[0], given[letters[0]]), letters[0]
    else:
        raise UserError(f"hold out: nothing says which runs of {', '.join(letters)} are larger; pass compute=")
    loss = np.atleast_1d(np.asarray(given.get("L", values)))
    if len(values) != len(loss):
        raise UserError(f"hold out: {name} has {len(values)} values for {len(loss)} runs; give one a run")
    return Cost(name, values)


def checked_factor(factor: float) -> float:
    """A factor above 1."""
    if not (np.isfinite(factor) and factor > 1):
        raise UserError(f"hold out: factor = {factor!r} must be a number above 1, as 10 for the dearest factor of ten")
    return float(factor)


def clusters(labels: ArrayLike | None, runs: int) -> NDArray[np.int64]:
    """(runs,) numbers of the cluster that each row belongs to: by its label, or each its own."""
    if labels is None:
        return np.arange(runs, dtype=np.int64)
    given = np.asarray(labels)
    if given.shape != (runs,):
        raise UserError(f"labels: have shape {given.shape}; give one for every row, shape ({runs},)")
    return np.asarray(np.unique(given, return_inverse=True)[1], np.int64)


def _numbers(name: str, values: ArrayLike) -> Array:
    try:
        array = np.array(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise UserError(f"{name}: holds what is not a number; mend or drop that row") from error
    if array.ndim != 1 or not (np.isfinite(array) & (array > 0)).all():
        raise UserError(f"{name}: pass one positive, finite value a run, shape (runs,)")
    return array
