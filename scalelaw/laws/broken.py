"""Power laws joined smoothly at breaks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, make_dataclass
from functools import cache
from itertools import combinations, product
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from scalelaw.errors import UserError
from scalelaw.laws import analytic
from scalelaw.laws.base import Array, ln
from scalelaw.laws.smooth import Smooth
from scalelaw.laws.starting import ranked, regress, steepest, thinned


@dataclass(frozen=True)
class BrokenPowerLaw(Smooth):
    """L = E + A C^-c0 (1 + (C / d1)^(1 / f1))^(-c1 f1): a broken neural scaling law with one break.

    Caballero, Gupta, Rish, Krueger 2022 (arXiv 2210.14891), where a is our E and b our A. L - E falls with
    exponent c0 up to C = d1 and with c0 + c1 beyond; f1 is the width of the bend in ln C. At c1 = 0 it is
    `OffsetPowerLaw`. More breaks: `broken(n)`, ordered by d1 < d2 < ...; in any other order the law is not defined.
    """

    E: float
    A: float
    c0: float
    c1: float
    d1: float
    f1: float

    word: ClassVar[str] = "broken"
    equation: ClassVar[str] = "L = E + A C^-c0 (1 + (C / d1)^(1 / f1))^(-c1 f1)"
    variables: ClassVar[tuple[str, ...]] = ("C",)
    breaks: ClassVar[int] = 1
    positive: ClassVar[frozenset[str]] = frozenset({"E", "A", "d1", "f1"})
    vanishing: ClassVar[frozenset[str]] = frozenset({"E"})
    derived: ClassVar[tuple[str, ...]] = ("final_exponent", "segment_exponent", "local_exponent")

    def predict(self, **variables: ArrayLike) -> Array:
        """See the class."""
        C = np.asarray(variables["C"], float)
        L = self.A * C**-self.c0
        for c, d, f in self._bends:
            # L = E + A C^-c0 prod_i (1 + (C / d_i)^(1 / f_i))^(-c_i f_i)
            L = L * _bent(C / d, c, f)
        return np.asarray(self.E + L)

    @property
    def _bends(self) -> list[tuple[float, float, float]]:
        """(c, d, f) of every break."""
        return [tuple(getattr(self, f"{name}{i}") for name in "cdf") for i in range(1, self.breaks + 1)]

    @property
    def final_exponent(self) -> float:
        """c0 + c1 + ...: the exponent beyond the last break."""
        return self.segment_exponent(self.breaks)

    def segment_exponent(self, segment: int) -> float:
        """c0 + ... + c_segment: the exponent between break `segment` and the next; 0 is before the first.

        Raises:
            UserError: for a segment that the law does not have.
        """
        if segment not in range(self.breaks + 1):
            raise UserError(f"{self.word}: segment {segment!r} is not one of 0 ... {self.breaks}")
        total = self.c0
        for c, _, _ in self._bends[: int(segment)]:
            total = total + c
        return total

    def local_exponent(self, C: ArrayLike) -> Array:
        """-d ln(L - E) / d ln C at C: between the exponents of the segments around it."""
        x = np.log(np.asarray(C, float))
        total = np.asarray(self.c0) + 0 * x
        for c, d, f in self._bends:
            total = total + c * analytic.sigmoid((x - ln(d)) / f)
        return np.asarray(total)

    @classmethod
    def log_curve(cls, theta: Array, logs: Array) -> Array:
        """ln(E + e^g), g = ln A - c0 x - sum c_i f_i softplus((x - ln d_i) / f_i)."""
        log_e, log_a, c0, *rest = analytic.columns(theta)
        x = logs[0]
        g = log_a - c0 * x
        for i in range(0, len(rest), 3):
            c, log_d, f = rest[i], rest[i + 1], analytic.exp(rest[i + 2])
            g = g - c * f * analytic.softplus((x - log_d) / f)
        ordered = (np.diff(theta[:, 4::3].real, axis=1) > 0).all(axis=1, keepdims=True)
        return np.asarray(np.where(ordered, analytic.log_add(log_e, g), np.nan))

    @classmethod
    def unscaled(cls, theta: Array, log_units: Mapping[str, float]) -> Array:
        """Breaks have the unit of C, E the loss's, A that of L C^c0."""
        raw = np.array(theta)
        raw[:, 0] += log_units["L"]
        raw[:, 1] += log_units["L"] + theta[:, 2] * log_units["C"]
        raw[:, 4::3] += log_units["C"]
        return raw

    @classmethod
    def starts(cls, L: Array, **variables: Array) -> Array:
        """A grid of floors, breaks and widths; given these, ln(L - E) is linear in ln A and the exponents."""
        logs, y = thinned(L, [variables["C"]])
        x = logs[0]
        span = max(float(np.ptp(x)), 1e-6)
        inner = np.quantile(x, np.linspace(0.1, 0.9, max(7, cls.breaks + 2)))
        sets = list(combinations(np.unique(inner), cls.breaks)) or [tuple(np.sort(inner)[: cls.breaks])]
        sets = [sets[at] for at in np.unique(np.linspace(0, len(sets) - 1, 40).round().astype(int))]
        grid = list(product((0.01, 0.5, 0.8, 0.95), sets, (0.02 * span, 0.07 * span, 0.2 * span)))
        log_e = y.min() + np.log([floor for floor, _, _ in grid])
        d = np.array([chosen for _, chosen, _ in grid])
        f = np.array([width for _, _, width in grid])
        above = np.exp(y) - np.exp(log_e)[:, None]
        bends = f[:, None, None] * analytic.softplus((x - d[:, :, None]) / f[:, None, None])
        line = np.broadcast_to(np.stack([np.ones_like(x), -x]), (len(grid), 2, len(x)))
        solved = regress(np.concatenate([line, -bends], axis=1), np.log(above), (above / np.exp(y)) ** 2)
        theta = np.empty((len(grid), 3 + 3 * cls.breaks))
        theta[:, 0], theta[:, 1], theta[:, 2] = log_e, solved[:, 0], solved[:, 1]
        theta[:, 3::3], theta[:, 4::3], theta[:, 5::3] = solved[:, 2:], d, np.log(f)[:, None]
        kinds = [(chosen, width) for _, chosen, width in grid]
        return ranked(cls, theta, kinds, L, variables)

    @classmethod
    def box(cls, L: Array, **variables: Array) -> tuple[Array, Array]:
        """Breaks within a tenth of the data's range of them, bends up to three times as wide as the data."""
        x, y, steep = np.log(variables["C"]), np.log(L), steepest(L, variables["C"])
        span = max(float(np.ptp(x)), 1e-6)
        reach = 3 * steep * (np.abs(x).max() + 5)
        bend = np.array([-2 * steep, x.min() - 0.1 * span, np.log(1e-3 * span)])
        wide = np.array([2 * steep, x.max() + 0.1 * span, np.log(3 * span)])
        low = np.concatenate([[y.min() - 20, y.min() - reach, -2 * steep], *[bend] * cls.breaks])
        return low, np.concatenate([[y.max(), y.max() + reach, 2 * steep], *[wide] * cls.breaks])


def _bent(ratio: Any, c: Any, f: Any) -> Any:
    """(1 + ratio^(1 / f))^(-c f); ratio^-c, to rounding the same, where that power is beyond floating point."""
    with np.errstate(over="ignore", invalid="ignore"):
        turned = np.asarray(ratio ** (1 / f))
        return np.where(np.isfinite(turned), (1 + turned) ** (-c * f), ratio**-c)


@cache
def broken(n: int) -> type[BrokenPowerLaw]:
    """The broken power law with `n` breaks, word `broken-n` (`broken` for one).

    Raises:
        UserError: unless n is a whole number from 1 to 9.
    """
    if n not in range(1, 10):
        raise UserError(f"broken({n!r}): a broken power law has 1 to 9 breaks")
    if n == 1:
        return BrokenPowerLaw
    before = broken(n - 1)
    equation = f"{before.equation} (1 + (C / d{n})^(1 / f{n}))^(-c{n} f{n})"
    attributes = {
        "__module__": __name__,
        "__doc__": f"{equation}: a broken neural scaling law with {n} breaks.\n\n    Caballero, Gupta, Rish, Krueger "
        "2022 (arXiv 2210.14891), where a is our E and b our A. See `BrokenPowerLaw`.",
        "word": f"broken-{n}",
        "equation": equation,
        "breaks": n,
        "positive": before.positive | {f"d{n}", f"f{n}"},
    }
    fields = [(f"{name}{n}", float) for name in "cdf"]
    return make_dataclass(f"BrokenPowerLaw{n}", fields, bases=(before,), namespace=attributes, frozen=True)
