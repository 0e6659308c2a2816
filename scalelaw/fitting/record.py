"""A fit as plain numbers, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from scalelaw import laws
from scalelaw.errors import UserError, nearest
from scalelaw.fitting.objectives import OBJECTIVES, settings

if TYPE_CHECKING:
    from scalelaw.fitting.result import Fit

REFITTED = 1e-6
"""Relative difference up to which a fit read back equals its record: machines round differently."""


def to_dict(fit: Fit, data: bool) -> dict[str, Any]:
    """Plain numbers, None for what is unknown; with the data unless that is turned off."""
    record = {
        "law": fit.law.word,
        "equation": fit.law.equation,
        "params": {name: _plain(value) for name, value in fit.params.items()},
        "stderr": {name: _plain(value) for name, value in fit.stderr.items()},
        "interval": {name: [_plain(end) for end in fit.interval(name)] for name in fit.params},
        "objective": fit.objective.word,
        "objective_settings": settings(fit.objective),
        "objective_value": _plain(fit.objective_value),
        "space": fit.space,
        "points": fit.points,
        "n": fit.n,
        "fix": fit.fix,
        "bounds": {name: list(ends) for name, ends in fit.bounds.items()},
        "inside_delta": fit.inside,
        "decrement": _plain(fit.decrement),
        "starts_agreed": [fit.agreed, fit.starts],
        "trade_offs": [[pair.first, pair.second, pair.correlation] for pair in fit.trade_offs],
        "status": fit.status,
        "warnings": list(fit.warnings),
    }
    if data:
        record["data"] = {letter: values.tolist() for letter, values in fit.data.items()}
        record["weights"] = None if (fit.weights == 1).all() else fit.weights.tolist()
    return record


def from_dict(record: Mapping[str, Any]) -> Fit:
    """The fit of a record that holds its data: fitted again, which takes milliseconds and gives the same bits.

    Raises:
        UserError: for a record without data, or one whose numbers its data do not give.
    """
    from scalelaw.fitting.search import fit

    missing = [key for key in ("law", "equation", "params", "objective", "space", "data") if key not in record]
    if missing:
        hint = "; write it with to_dict(), which keeps the data" if missing == ["data"] else ""
        raise UserError(f"fit record: lacks {', '.join(missing)}{hint}")
    word, objective = record["law"], record["objective"]
    if objective not in OBJECTIVES:
        raise UserError(f"fit record: unknown objective {objective!r}{nearest(str(objective), list(OBJECTIVES))}")
    law = laws.sum_of_powers(record["equation"]) if word == "sum" else laws.law(word)
    goal = OBJECTIVES[objective](**record.get("objective_settings", {}))
    found = fit(
        law,
        objective=goal,
        space=record["space"],
        weights=record.get("weights"),
        fix=record.get("fix"),
        bounds={name: (low, high) for name, (low, high) in record.get("bounds", {}).items()},
        points=record.get("points"),
        **record["data"],
    )
    for name, value in record["params"].items():
        again = _plain(found.params[name])
        if (again is None) != (value is None) or (again is not None and abs(again - value) > REFITTED * abs(value)):
            raise UserError(
                f"fit record: its data give {name} = {again}, not {value}; it was changed, or fit them anew"
            )
    return found


def _plain(value: float | None) -> float | None:
    """None for what JSON has no number for: an infinite amplitude at a far origin, the exponent of a dead term."""
    return None if value is None or not np.isfinite(value) else float(value)
