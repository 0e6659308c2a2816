"""What choosing by pre-training loss costs after transfer, and how the best start differs from the lowest-loss one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scalelaw.transfer.groups import Ends, draws_within, interval
from scalelaw.transfer.starts import Array, Starts

SIDES = {"size": ("larger", "smaller"), "epochs": ("longer", "shorter"), "peak_lr": ("higher rate", "lower rate")}
"""What a start may differ in, and the words for more and less of it."""


@dataclass(frozen=True)
class Regret:
    """Error after transfer of the lowest-loss start, less that of the best, averaged over groups of equal compute.

    Of starts that differ by noise alone the best is still better by chance, so the regret is never below 0 and errs
    towards more; with several fine-tuning seeds a start it errs by less.

    Attributes:
        mean: a share (.01 is one point of accuracy); None where no group is large enough.
        interval: 95 %, by resampling starts within groups; None where unknown.
        groups: how many it rests on.
    """

    mean: float | None
    interval: Ends
    groups: int


@dataclass(frozen=True)
class Difference:
    """How the best start differs from the lowest-loss one of its group, in size, epochs or rate.

    Attributes:
        what: size, epochs or peak_lr.
        ratio: the best start's over the lowest-loss one's, geometric mean over groups; None where unknown, or where
            the starts of a group are all alike in it.
        interval: 95 %, by resampling starts within groups.
        groups: how many it rests on.
        verdict: `larger`, `shorter` and so on, or `cannot tell`.
    """

    what: str
    ratio: float | None
    interval: Ends
    groups: int

    @property
    def verdict(self) -> str:
        if self.ratio is None or self.interval is None or self.interval[0] <= 1 <= self.interval[1]:
            return "cannot tell"
        return SIDES[self.what][self.interval[1] < 1]


def picks(key: Array, groups: list[NDArray[np.int64]], drawn: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each draw and group the start of lowest `key`, (draws, groups); of equal ones the first drawn."""
    return np.stack([drawn[np.arange(len(drawn)), members[np.argmin(key[drawn[:, members]], axis=1)]]
                     for members in groups], axis=1)  # fmt: skip


def regret(starts: Starts, groups: list[NDArray[np.int64]], seed: int = 0) -> Regret:
    """The regret over groups large enough, each an array of places in `starts`."""
    if not groups:
        return Regret(None, None, 0)

    def mean(drawn: NDArray[np.int64]) -> Array:
        by_loss, by_error = (picks(key, groups, drawn) for key in (starts.loss, starts.error))
        return np.asarray((starts.error[by_loss] - starts.error[by_error]).mean(axis=1))

    whole, drawn = _draws(len(starts), groups, seed)
    return Regret(float(mean(whole)[0]), interval(mean, drawn), len(groups))


def difference(starts: Starts, what: str, groups: list[NDArray[np.int64]], seed: int = 0) -> Difference:
    """The difference in one respect over groups large enough."""
    values = np.log(np.asarray(getattr(starts, what), float))
    groups = [members for members in groups if np.isfinite(values[members]).all()]
    if all(np.ptp(values[members]) == 0 for members in groups):  # nothing to choose between
        return Difference(what, None, None, 0)

    def mean(drawn: NDArray[np.int64]) -> Array:
        by_loss, by_error = (picks(key, groups, drawn) for key in (starts.loss, starts.error))
        return np.asarray((values[by_error] - values[by_loss]).mean(axis=1))

    whole, drawn = _draws(len(starts), groups, seed)
    ends = interval(mean, drawn)
    ratios = None if ends is None else (float(np.exp(ends[0])), float(np.exp(ends[1])))
    return Difference(what, float(np.exp(mean(whole)[0])), ratios, len(groups))


def _draws(count: int, groups: list[NDArray[np.int64]], seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The starts as they are, as one draw, and draws within the groups; starts of no group stay where they are."""
    labels = np.arange(len(groups), len(groups) + count)
    for number, members in enumerate(groups):
        labels[members] = number
    return np.arange(count)[None], draws_within(labels, seed)
