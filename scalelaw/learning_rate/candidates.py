"""Candidates for the trend of the optimal rate, compared by back-test.

    constant               ln rate = a
    power law              ln rate = a + b ln size + c ln epochs
    constant then falling  ln rate = min(plateau, a + b ln size + c ln epochs)

Each cell is predicted from all others, and the largest cells from the smaller ones. The simplest candidate that cannot
be told from the best one is chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scalelaw.fitting.checks import points
from scalelaw.fitting.straightness import t_quantile
from scalelaw.learning_rate.censored import Observed
from scalelaw.learning_rate.forms import WORDS, Fitted, Mask, Word, fit_form
from scalelaw.learning_rate.trend import Terms

Array = NDArray[np.float64]
Verdict = Literal["best", "as good", "worse"]

LARGEST = 0.2, 0.35
"""Shares of the cells, the largest by size x length, that are left out together."""
SURE = 0.95
"""Level of the paired test that tells two candidates apart."""
FEWEST_CELLS = 6
"""Cells below which nothing is told apart."""


@dataclass(frozen=True)
class TrendCandidate:
    """One candidate.

    Attributes:
        word: its name.
        verdict: best; as good where the back-test cannot tell it from the best; else worse.
        params: a; b and c where size and epochs vary; plateau; all of ln rate.
        scatter: standard deviation of a cell's ln optimum about it.
        left_out: root mean square error of ln rate at left-out cells (bounds count where overstepped); None where no
            cell can be left out.
        largest: the same at the largest cells, predicted from smaller ones; None without enough cells.
        score: what candidates are ranked by: the mean square of both errors in units of the cells' own spread.
    """

    word: Word
    verdict: Verdict
    params: dict[str, float]
    scatter: float
    left_out: float | None
    largest: float | None
    score: float
    _rate: Callable[[Array], Array] = field(repr=False)
    _names: tuple[str, ...] = field(repr=False)

    def predict(self, size: ArrayLike, length: ArrayLike) -> Array:
        """The rate at a size and length (arrays broadcast), in the units of the trend's columns.

        Raises:
            UserError: for values that are not positive, finite numbers, or shapes that do not broadcast.
        """
        b, c = map(np.log, points("predict", {"size": size, "length": length}).values())
        X = np.stack([{"a": np.ones_like(b), "b": b, "c": c}[name] for name in self._names], axis=-1)
        return np.asarray(np.exp(self._rate(X.reshape(-1, X.shape[-1]))).reshape(b.shape))


@dataclass(frozen=True)
class TrendChoice:
    """Candidates, the best first.

    Attributes:
        candidates: those that the cells determine.
        cells: left out in turn.
        absent: candidates that the cells do not determine: no plateau fits, or size and epochs do not vary.
    """

    candidates: tuple[TrendCandidate, ...]
    cells: int
    absent: tuple[Word, ...] = ()

    @property
    def chosen(self) -> TrendCandidate:
        """The simplest that cannot be told from the best."""
        return min((one for one in self.candidates if one.verdict != "worse"), key=lambda one: WORDS.index(one.word))

    @property
    def told(self) -> bool:
        """Whether the best candidate can be told from every other."""
        return len(self.candidates) > 1 and all(one.verdict == "worse" for one in self.candidates[1:])

    def __getitem__(self, word: str) -> TrendCandidate:
        return {one.word: one for one in self.candidates}[word]  # type: ignore[index]

    def __str__(self) -> str:
        lines = [
            f"{one.word}: error of ln rate {_said(one.left_out)} at cells left out, {_said(one.largest)} at the largest"
            + f" ({one.verdict})"
            for one in self.candidates
        ]
        lines += [f"{word}: no such trend fits these cells" for word in self.absent]
        if not self.candidates:
            return "\n".join([*lines, "too few optima inside their grid for any trend"])
        if self.told:
            return "\n".join([*lines, f"{self.chosen.word} can be told from the others"])
        alike = [one.word for one in self.candidates if one.verdict != "worse"]
        if len(alike) == 1:
            return "\n".join([*lines, f"{alike[0]} is the only candidate"])
        sentence = f"{' and '.join(alike)} cannot be told apart on {self.cells} cells"
        return "\n".join([*lines, f"{sentence}; {self.chosen.word} is the simplest"])

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, None for what is unknown."""
        names = ("word", "verdict", "params", "scatter", "left_out", "largest", "score")
        return {
            "chosen": self.chosen.word if self.candidates else None,
            "told": self.told,
            "cells": self.cells,
            "absent": list(self.absent),
            "candidates": [{name: getattr(one, name) for name in names} for one in self.candidates],
        }


def choose_trend(terms: Terms, data: Observed, monotone: bool = False) -> TrendChoice:
    """The candidates that the cells determine, compared.

    Args:
        terms: size and epochs of the cells.
        data: their optima.
        monotone: forbids slopes above 0.
    """
    cells = len(data.y)
    everything: dict[Word, Fitted] = {}
    for word in WORDS:
        found = fit_form(word, terms, terms.X, data, monotone)
        if found is not None:
            everything[word] = found
    absent = tuple(word for word in WORDS if word not in everything)
    if not everything:
        return TrendChoice((), cells, absent)
    # one yardstick for all: the scatter about the candidate that follows the cells best
    spread = np.sqrt(data.own**2 + min(one.line.scatter for one in everything.values()) ** 2)
    near: dict[Word, Array] = {word: np.full(cells, np.nan) for word in everything}
    far: dict[Word, list[Array]] = {word: [] for word in everything}
    for left_out, largest in _splits(terms, cells):
        for word, whole in everything.items():
            found = _without(word, whole, left_out, None if largest else whole.falling, terms, data, monotone)
            miss = np.full(cells, np.nan)
            if found is not None:
                miss[left_out] = data.take(left_out).miss(found.rate(terms.X[left_out]))
            if largest:
                far[word].append(miss)
            else:
                near[word][left_out] = miss[left_out]
    scores = {}
    for word in everything:
        every = np.stack([near[word], *far[word]]) / spread
        counted = np.isfinite(every).sum(axis=0)
        scores[word] = np.where(counted, np.nansum(every**2, axis=0) / np.maximum(counted, 1), np.nan)
    means = {word: float(np.nanmean(score)) if np.isfinite(score).any() else np.inf for word, score in scores.items()}
    ranked = sorted(everything, key=lambda word: means[word])
    return TrendChoice(
        tuple(
            TrendCandidate(
                word=word,
                verdict="best" if word == ranked[0] else _verdict(scores[word] - scores[ranked[0]]),
                params=everything[word].params,
                scatter=everything[word].line.scatter,
                left_out=_rms(near[word]),
                largest=_rms(np.stack(far[word])) if far[word] else None,
                score=means[word],
                _rate=everything[word].rate,
                _names=terms.names,
            )
            for word in ranked
        ),
        cells,
        absent,
    )


def _without(
    word: Word, whole: Fitted, left_out: Mask, falling: Mask | None, terms: Terms, data: Observed, monotone: bool
) -> Fitted | None:
    """A candidate fitted without some cells, from the sides of all cells where given."""
    X, rest = terms.X[~left_out], data.take(~left_out)
    found = fit_form(word, terms, X, rest, monotone, None if falling is None else falling[~left_out])
    if found is None and whole.falling is not None:  # a plateau that no cell reaches is the power law
        found = fit_form("power law", terms, X, rest, monotone)
    return found


def _splits(terms: Terms, cells: int) -> Iterator[tuple[Mask, bool]]:
    """Cells to leave out, and whether they are the largest."""
    for number in range(cells):
        yield np.arange(cells) == number, False
    extent = terms.X[:, 1:].sum(axis=1)
    if not np.ptp(extent):
        return
    for share in LARGEST:
        least = np.sort(extent)[-max(1, round(share * cells))]
        left_out = extent >= least - 1e-9
        if left_out.sum() < cells:
            yield left_out, True


def _verdict(difference: Array) -> Verdict:
    """Worse when the mean difference of the cells' scores is surely above 0."""
    known = difference[np.isfinite(difference)]
    if len(known) < FEWEST_CELLS:
        return "as good"
    spread = float(known.std(ddof=1)) / np.sqrt(len(known))
    return "worse" if known.mean() > max(t_quantile(SURE, len(known) - 1) * spread, 1e-6) else "as good"


def _said(error: float | None) -> str:
    return "unknown" if error is None else f"{error:.3f}"


def _rms(miss: Array) -> float | None:
    known = miss[np.isfinite(miss)]
    return float(np.sqrt(np.mean(known**2))) if len(known) else None
