"""What a fit refuses, and the arrays that it accepts."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scalelaw.errors import UserError
from scalelaw.laws import Law, Smooth, SumOfPowers

Array = NDArray[np.float64]


def _rows(mask: NDArray[np.bool_]) -> str:
    """`row 3` or `rows 3, 5, 9 and 4 more`, counted from 1."""
    at = (np.flatnonzero(mask) + 1).tolist()
    listed = ", ".join(str(row) for row in at[:5])
    more = f" and {len(at) - 5} more" if len(at) > 5 else ""
    return f"row{'s' if len(at) > 1 else ''} {listed}{more}"


def positive_arrays(
    law: type[Law], given: Mapping[str, ArrayLike], held: Collection[str] = frozenset()
) -> dict[str, Array]:
    """The law's variables and L as positive float64 arrays of one shape (runs,); `held` are pinned parameters.

    Raises:
        UserError: for missing or further letters, arrays that do not match, values that are not positive and finite
            (naming the rows), fewer runs than parameters, or a variable that never varies. All mistakes at once.
    """
    wanted = (*law.variables, "L")
    mistakes = [f"fit {law.word}: {letter} is missing; pass {letter}=..." for letter in wanted if letter not in given]
    mistakes += [
        f"fit {law.word}: {letter} is no variable of {law.equation}; leave it out or choose another law"
        for letter in given
        if letter not in wanted
    ]
    if mistakes:
        raise UserError(*mistakes)
    arrays: dict[str, Array] = {}
    for letter in wanted:
        try:
            arrays[letter] = np.array(given[letter], dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise UserError(f"{letter}: {_unreadable(given[letter])} is not a number; mend or drop that row") from error
        if arrays[letter].ndim != 1:
            raise UserError(f"{letter}: has shape {arrays[letter].shape}; pass one value a run, shape (runs,)")
    lengths = {letter: len(array) for letter, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise UserError(f"fit {law.word}: lengths differ ({lengths}); every variable needs one value a run")
    for letter, array in arrays.items():
        with np.errstate(invalid="ignore"):
            kinds = {"NaN": np.isnan(array), "infinite": np.isinf(array), "not positive": array <= 0}
        mistakes += [
            f"{letter}: {_rows(mask)} {'are' if mask.sum() > 1 else 'is'} {kind}; mend or leave out such runs"
            for kind, mask in kinds.items()
            if mask.any()
        ]
    if mistakes:
        raise UserError(*mistakes)
    runs, size = lengths["L"], sum(name not in held for name in law.names())
    if runs < max(size, 1):
        raise UserError(f"fit {law.word}: {runs} runs for {size} parameters; add runs or choose a law with fewer")
    for letter in law.variables:
        if _asked_of(law, letter, held) and np.ptp(np.log(arrays[letter])) < 1e-9:
            raise UserError(
                f"{letter}: all {runs} runs share the value {arrays[letter][0]:g}, so its exponent cannot be told; "
                f"add runs at other values or choose a law without {letter}"
            )
    return arrays


def _asked_of(law: type[Law], letter: str, held: Collection[str]) -> bool:
    """Whether some parameter can only be told when this variable varies."""
    if issubclass(law, SumOfPowers):
        return any(name not in held for term in law.terms for own, name in term.exponents if own == letter)
    return not (issubclass(law, Smooth) and letter in law.one_unit[1:]) and len(held) < len(law.names())


def checked_weights(weights: ArrayLike | None, runs: int, size: int) -> Array:
    """Weights of the runs (runs,), all 1 by default.

    Raises:
        UserError: for another shape, values that are negative or not finite, or fewer positive ones than parameters.
    """
    if weights is None:
        return np.ones(runs)
    try:
        values = np.array(weights, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise UserError(f"weights: {_unreadable(weights)} is not a number") from error
    if values.shape != (runs,):
        raise UserError(f"weights: have shape {values.shape}; pass one a run, shape ({runs},)")
    bad = ~np.isfinite(values) | (values < 0)
    if bad.any():
        raise UserError(f"weights: {_rows(bad)} must be finite and not negative")
    if (values > 0).sum() < max(size, 1):
        raise UserError(f"weights: {int((values > 0).sum())} runs of positive weight for {size} parameters; add runs")
    return values


def _unreadable(values: ArrayLike) -> str:
    """The first value that is no number, with its row."""
    for row, value in enumerate(np.atleast_1d(np.asarray(values, dtype=object)), start=1):
        try:
            float(value)
        except (TypeError, ValueError):
            return f"row {row} ({value!r})"
    return "a value"
