"""Which runs to buy with a spend: the best per cost first, then exchanges until none helps."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Counts = NDArray[np.int64]
RULES = (1.0, 0.0)
"""What helps most over its cost to such a power is bought: per cost, and whole."""
MORE_RULES = (0.0, 0.5, 1.0)
LIDS = (1.0, 0.5, 0.25)
"""Shares of the spend that the dearest run may cost, from which a wide search begins."""

HELPS = 1e-3
"""A run that lowers the expected squared error by a smaller share is not bought."""
BEGINNINGS = 5
"""First runs that are tried."""
ROUNDS = 6
"""Passes of exchanges; they end sooner where no exchange helps."""
PASS = 10


@dataclass(frozen=True)
class Choice:
    """Chosen runs.

    Attributes:
        counts: (cells,) runs bought of each.
        score: mean over worlds of ln squared error.
        spent: their cost.
    """

    counts: Counts
    score: float
    spent: float


class Known(Protocol):
    """What runs say, and what one more of each of some cells would make of it."""

    @property
    def sizes(self) -> Counts: ...
    def errors(self) -> tuple[Array, Array]: ...
    def after(self, cells: Counts) -> Array: ...
    def changed(self, cell: int, count: int = 1) -> Self: ...


Told = TypeVar("Told", bound=Known)


@dataclass(frozen=True)
class _State:
    information: Known
    counts: Counts
    score: float
    left: float


def choose(
    information: Known,
    cost: Array,
    spend: float,
    most: int,
    searches: int = 3,
    together: int = 2,
    wide: bool = False,
) -> Choice:
    """Runs that lower the mean over worlds of ln squared error, within a spend.

    Args:
        information: of the runs there are.
        cost: (cells,) of one run of each cell, in the unit of `spend`.
        spend: what may be spent.
        most: at most so many runs.
        searches: exchanges begin from so many of the best first choices, of a wide search from one a lid.
        together: an exchange takes out runs of up to so many cells.
        wide: first choices without the dearest runs too, and more rules: one large run is hard to leave by exchanges.
    """
    rules = MORE_RULES if wide else RULES
    empty = _State(information, np.zeros(len(cost), np.int64), score(information), spend)
    if wide:
        under = [[_filled(empty, cost, most, power, dearest=lid * spend) for power in rules] for lid in LIDS]
        begun = [min(filled, key=lambda state: state.score) for filled in under]
    else:
        filled = [_filled(state, cost, most, 1.0) for state in (empty, *_beginnings(empty, cost, most))]
        filled.append(_filled(empty, cost, most, 0.0))
        begun = sorted(filled, key=lambda state: state.score)[:searches]
    found = (_exchanged(state, cost, most, together, rules, 1e-3 if wide else 1e-4) for state in begun)
    best = min(found, key=lambda state: state.score)
    return Choice(best.counts, best.score, spend - best.left)


def _exchanged(best: _State, cost: Array, most: int, together: int, rules: tuple[float, ...], least: float) -> _State:
    """Takes runs of a cell, or of up to `together` cells, out and fills the room anew, as long as that lowers the score
    by `least`, and a pass by `PASS` times as much."""
    for _ in range(ROUNDS):
        before = best.score
        there = [int(cell) for cell in np.flatnonzero(best.counts)]
        for gone in (gone for width in range(1, together + 1) for gone in combinations(there, width)):
            for whole in (False, True):
                counts = [int(best.counts[cell]) if whole else 1 for cell in gone]
                if (whole and max(counts) == 1) or min(best.counts[cell] for cell in gone) < 1:
                    continue
                fewer = best
                for cell, count in zip(gone, counts, strict=True):
                    fewer = _taken(fewer, cost, cell, -count)
                for power in rules:
                    tried = _filled(fewer, cost, most, power, barred=gone[0])
                    if tried.score < best.score - least:
                        best = tried
                        break
        if best.score > before - PASS * least:
            break
    return best


def _beginnings(state: _State, cost: Array, most: int) -> list[_State]:
    """The affordable runs that help most, one a size: cheap runs alone never add up to a dear one."""
    affordable = cost <= state.left * (1 + 1e-9)
    if not affordable.any() or most < 1:
        return []
    expected = _expected(state.information, affordable)
    sizes = state.information.sizes
    best = [int(np.argmin(np.where(sizes == size, expected, np.inf))) for size in np.unique(sizes[affordable])]
    best = sorted((cell for cell in best if expected[cell] < state.score), key=lambda cell: float(expected[cell]))
    return [_taken(state, cost, cell, 1, float(expected[cell])) for cell in best[:BEGINNINGS]]


def with_counts(information: Told, counts: Counts) -> Told:
    """With counts (cells,) of further runs."""
    for cell in np.flatnonzero(counts):
        information = information.changed(int(cell), int(counts[cell]))
    return information


def score(information: Known) -> float:
    """Mean over worlds of ln squared error."""
    chance, form = information.errors()
    return float(np.log(chance + form).mean())


def _expected(information: Known, affordable: NDArray[np.bool_]) -> Array:
    """(cells,) score with one more run of each affordable cell, inf elsewhere."""
    cells = np.flatnonzero(affordable)
    expected = np.full(len(affordable), np.inf)
    expected[cells] = np.log(information.after(cells)).mean(axis=0)
    return expected


def _filled(
    state: _State, cost: Array, most: int, power: float, barred: int | None = None, dearest: float = np.inf
) -> _State:
    """Buys until nothing affordable helps: most help over cost to a power, no run dearer than `dearest`."""
    while state.counts.sum() < most:
        affordable = cost <= min(state.left, dearest) * (1 + 1e-9)
        if barred is not None:
            affordable[barred] = False
        if not affordable.any():
            return state
        expected = _expected(state.information, affordable)
        gain = state.score - expected
        gain = np.where(affordable & (gain > HELPS), gain, 0.0)
        if not gain.any():
            return state
        cell = int(np.argmax(gain / cost**power))
        state = _taken(state, cost, cell, 1, float(expected[cell]))
    return state


def _taken(state: _State, cost: Array, cell: int, count: int, expected: float | None = None) -> _State:
    """With `count` more runs of a cell, whose score is known or computed."""
    information = state.information.changed(cell, count)
    counts = state.counts.copy()
    counts[cell] += count
    left = state.left - count * float(cost[cell])
    return _State(information, counts, score(information) if expected is None else expected, left)
