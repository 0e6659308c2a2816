"""Quantities of a law: its parameters and what it derives from them, as the size exponent or the optimal size at C."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scalelaw.errors import UserError, nearest
from scalelaw.laws import Law

Array = NDArray[np.float64]
STEP = 1e-30


def check(law: type[Law], name: str, at: Mapping[str, Any]) -> None:
    """Refuses names that the law does not have, and arguments that the quantity does not take.

    Raises:
        UserError: naming the nearest, or what the quantity needs.
    """
    known = [*law.names(), *law.derived]
    if name not in known:
        raise UserError(f"{law.word}: has no quantity {name!r}{nearest(name, known)} (known: {', '.join(known)})")
    wanted, optional = _arguments(law, name)
    missing = [one for one in wanted if one not in at]
    surplus = [one for one in at if one not in (*wanted, *optional)]
    if missing or surplus:
        given = ", ".join(at) or "nothing"
        raise UserError(f"{name}: needs {', '.join(wanted) or 'nothing'}, not {given}; pass {name!r} exactly these")
    for key, value in at.items():
        values = np.asarray(value)
        if values.dtype.kind not in "fiu" or not (np.isfinite(values) & (values > 0)).all():
            raise UserError(f"{name}: {key} = {value!r} must be positive and finite")


def _arguments(law: type[Law], name: str) -> tuple[list[str], list[str]]:
    """Arguments that a derived method needs, and those that it may take."""
    found = getattr(law, name, None) if name in law.derived else None
    if not callable(found):
        return [], []
    taken = list(inspect.signature(found).parameters.values())[1:]
    return [p.name for p in taken if p.default is p.empty], [p.name for p in taken if p.default is not p.empty]


def value(made: Law, name: str, at: Mapping[str, Any]) -> Any:
    """The quantity of a law whose fields are numbers or arrays."""
    found = getattr(made, name)
    return found(**at) if callable(found) else found


def gradient(law: type[Law], theta: Array, name: str, at: Mapping[str, Any]) -> Array:
    """(size, ...) derivative of a quantity by working coordinates theta (size,), by complex step."""
    parts = []
    for j in range(len(theta)):
        moved = theta.astype(complex)
        moved[j] += 1j * STEP
        with np.errstate(all="ignore"):
            parts.append(np.asarray(value(law.decode(moved), name, at)).imag / STEP)
    return np.stack(parts)
