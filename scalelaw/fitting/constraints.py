"""Pinned and bounded parameters: fix={"E": 0.5}, bounds={"alpha": (0, 1)}."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from scalelaw.errors import UserError, nearest
from scalelaw.laws import Law, Smooth, SumOfPowers

Array = NDArray[np.float64]
Bounds = Mapping[str, tuple[float | None, float | None]]
Held = TypeVar("Held")


@dataclass(frozen=True)
class Constraints:
    """What the user holds.

    Attributes:
        fix: name -> pinned value, in the user's units.
        bounds: name -> (low, high) in the user's units, None where open.
        lower, upper: (size,) the same in working coordinates, in the order of the law's fields.
    """

    fix: dict[str, float]
    bounds: dict[str, tuple[float | None, float | None]]
    lower: Array
    upper: Array

    @property
    def zero(self) -> frozenset[str]:
        """Parameters pinned at 0."""
        return frozenset(name for name, value in self.fix.items() if value == 0)

    def bounded(self, name: str) -> bool:
        """Whether the parameter is pinned above 0 or has a bound that its working coordinate feels."""
        if name in self.fix:
            return self.fix[name] != 0
        low, high = self.bounds.get(name, (None, None))
        return high is not None or (low is not None and low > 0)


def constraints(law: type[Law], fix: Mapping[str, float] | None, bounds: Bounds | None) -> Constraints:
    """Checks and translates what the user holds.

    Raises:
        UserError: for what is no mapping, unknown names, values that are no numbers, that the law's form does not
            allow, or crossed bounds.
    """
    fix, bounds = by_parameter("fix", fix), by_parameter("bounds", bounds)
    names = law.names()
    mistakes = []
    for word, given in (("fix", fix), ("bounds", bounds)):
        for name in given:
            if name not in names:
                close = nearest(str(name), list(names))
                mistakes.append(f"{word}: {law.word} has no parameter {name!r}{close} (it has {', '.join(names)})")
    mistakes += [f"bounds: {name} is also pinned by fix; give one of the two" for name in bounds if name in fix]
    if mistakes:
        raise UserError(*mistakes)
    lower, upper = np.full(len(names), -np.inf), np.full(len(names), np.inf)
    pinned: dict[str, float] = {}
    kept: dict[str, tuple[float | None, float | None]] = {}
    for j, name in enumerate(names):
        if name in fix:
            pinned[name] = _number("fix", name, fix[name])
            mistakes += _forbidden("fix", law, name, pinned[name])
            lower[j] = upper[j] = _working(law, name, pinned[name])
        if name in bounds:
            try:
                low, high = bounds[name]
            except (TypeError, ValueError):
                raise UserError(f"bounds: {name} = {bounds[name]!r} must be a pair (low, high)") from None
            low = None if low is None else _number("bounds", name, low, finite=False)
            high = None if high is None else _number("bounds", name, high, finite=False)
            kept[name] = (low, high)
            if low is not None and high is not None and not low < high:
                mistakes.append(f"bounds: {name} = ({low:g}, {high:g}): the first must be the lower; or pin it by fix")
            if high is not None and name in law.positive and high <= 0:
                mistakes.append(f"bounds: {name} must be able to be above 0, but its upper bound is {high:g}")
            elif not mistakes:
                lower[j] = -np.inf if low is None else _working(law, name, low)
                upper[j] = np.inf if high is None else _working(law, name, high)
    if mistakes:
        raise UserError(*mistakes)
    return Constraints(pinned, kept, lower, upper)


def by_parameter(word: str, given: Mapping[str, Held] | None) -> dict[str, Held]:
    """What is held, by parameter; nothing for None.

    Args:
        word: fix or bounds.

    Raises:
        UserError: for anything but a mapping.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        example = {"fix": "0.3", "bounds": "(0, 1)"}[word]
        kind = type(given).__name__
        raise UserError(f"{word}: is of type {kind}; pass a mapping of parameters, as {word}={{'alpha': {example}}}")
    return dict(given)


def _number(word: str, name: str, value: object, *, finite: bool = True) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise UserError(f"{word}: {name} = {value!r} is not a number") from None
    if np.isnan(number) or (finite and np.isinf(number)):
        raise UserError(f"{word}: {name} = {value!r} must be a finite number")
    return number


def _forbidden(word: str, law: type[Law], name: str, value: float) -> list[str]:
    if name not in law.positive or value > 0:
        return []
    may_vanish = issubclass(law, SumOfPowers) or (issubclass(law, Smooth) and name in law.vanishing)
    if value == 0 and may_vanish:
        return []
    return [f"{word}: {name} = {value:g} must be above 0{' or 0' if may_vanish else ''} in {law.equation}"]


def _working(law: type[Law], name: str, value: float) -> float:
    """The working coordinate; -inf for an amplitude bounded or pinned at 0 or below."""
    if name not in law.positive:
        return value
    return float(np.log(value)) if value > 0 else -np.inf
