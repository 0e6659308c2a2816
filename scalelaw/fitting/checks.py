"""What a fit and its answers refuse, and the arrays that they accept."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

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


def asked_points(law: type[Law], given: Mapping[str, ArrayLike]) -> dict[str, Array]:
    """Where a law is asked: letter -> positive float64 values, broadcast to one shape, in the order of its variables.

    Raises:
        UserError: for missing or further letters, values that are not positive, finite numbers, or shapes that do not
            broadcast.
    """
    if set(given) != set(law.variables):
        wanted, got = ", ".join(law.variables), ", ".join(given) or "nothing"
        raise UserError(f"predict {law.word}: give exactly {wanted}, not {got}")
    return points(f"predict {law.word}", {letter: given[letter] for letter in law.variables})


def points(what: str, given: Mapping[str, ArrayLike]) -> dict[str, Array]:
    """Positive float64 values by name, broadcast to one shape.

    Raises:
        UserError: for values that are not positive, finite numbers, or shapes that do not broadcast.
    """
    arrays = {}
    for name, values in given.items():
        try:
            arrays[name] = np.asarray(values, np.float64)
        except (TypeError, ValueError) as error:
            _, value = _no_number(values)
            raise UserError(f"{what}: {name} = {value!r} is not a number; pass numbers") from error
    try:
        arrays = dict(zip(arrays, np.broadcast_arrays(*arrays.values()), strict=True))
    except ValueError as error:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise UserError(f"{what}: shapes differ ({shapes}); pass one a point, or one for all") from error
    if not all((np.isfinite(array) & (array > 0)).all() for array in arrays.values()):
        raise UserError(f"{what}: {', '.join(arrays)} must be positive and finite")
    return arrays


def check_level(what: str, level: object) -> None:
    """Refuses what is no probability that an interval could cover with.

    Raises:
        UserError: for anything but a number between 0 and 1.
    """
    if not (isinstance(level, (float, np.floating)) and 0 < level < 1):
        raise UserError(f"{what}: level = {level!r} must lie between 0 and 1")


def check_seed(what: str, seed: object) -> None:
    """Refuses what begins no stream of random numbers that could be drawn again.

    Raises:
        UserError: for anything but a whole number from 0 on.
    """
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise UserError(f"{what}: seed = {seed!r} must be a whole number, 0 or more")


def _unreadable(values: ArrayLike) -> str:
    """The first value that is no number, with its row."""
    row, value = _no_number(values)
    return f"row {row} ({value!r})" if row else "a value"


def _no_number(values: ArrayLike) -> tuple[int, Any]:
    """Row, from 1, of the first value that is no number, and the value; row 0 and all of them where each is one."""
    for row, value in enumerate(np.atleast_1d(np.asarray(values, dtype=object)), start=1):
        try:
            float(value)
        except (TypeError, ValueError):
            return row, value
    return 0, values
