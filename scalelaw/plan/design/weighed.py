"""The error of a mean over forms that are fitted each by itself and weighed by evidence.

Form j is the surface with one departure. What the surface's parameters cannot take up of that departure's rows tells
its factor: with residuals over the noise, u_j, their product, is normal about C_jk f where departure k is the truth's
with factor f, and has covariance C. The factor being normal about 0 and 1 before, form j estimates it as
u_j / (1 + C_jj) and has the evidence exp(u_j^2 / (1 + C_jj) / 2) / sqrt(1 + C_jj) beside the surface's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scalelaw.plan.design.forms import PLAIN, PROBABLE

Array = NDArray[np.float64]
FINE = 1e-3
"""With less noise evidences are so large that their differences need whole width; else choices take half the time."""
LEAD = 50.0
"""No form has more evidence than the true one by as much: that is rounding."""


@dataclass(frozen=True, eq=False)
class Rest:
    """What runs and answer have of the departures beyond the surface's parameters.

    Attributes:
        scores: (worlds, departures, departures, cells) C; float32 where that is exact enough.
        reach: (worlds, departures, cells) by how much a factor of 1 moves the answer beside the surface's fit.
        variance: (worlds, cells) of the answer with the surface alone.
    """

    scores: NDArray[Any]
    reach: Array
    variance: Array


@dataclass(frozen=True, eq=False)
class Weighed:
    """Squared errors of the answer.

    Attributes:
        chance: (worlds, forms, cells) from noise and parameters, when no departure or one of them is the truth's. Forms
            are taken to err alike, which makes up for weights that vary with the noise.
        form: (worlds, forms, cells) from the departure.
        pulled: (worlds, departures, cells) by how much u moves the answer, over truths by their probability.
    """

    chance: Array
    form: Array
    pulled: Array


def weighed(rest: Rest, factors: Array) -> Weighed:
    """Where the truth is none of the departures or one with a factor of `factors` (worlds, departures).

    Weights are those at the expected logarithm of the evidence.
    """
    C: NDArray[Any] = rest.scores
    kind = C.dtype
    reach, probable = rest.reach.astype(kind), PROBABLE.astype(kind)
    told = np.ascontiguousarray(np.einsum("wjjc->wjc", C))
    kept = 1 / (1 + told)
    # E[u_j^2] is C_jj + (f C_jk)^2
    by_chance = np.log(probable)[:, None] + (np.log(kept) + told * kept) / 2
    half = (factors**2 / 2).astype(kind)[:, :, None]
    own = by_chance + half * told * (told * kept)
    evidence = C * kept[:, None]
    evidence *= C  # a square would overflow where there is next to no noise
    evidence *= half[:, :, None]
    evidence += by_chance[:, None]
    evidence -= own[:, :, None]
    every = np.arange(len(PROBABLE))
    evidence[:, every, every] = 0.0  # whatever was rounded
    share = np.exp(np.minimum(evidence, LEAD, out=evidence), out=evidence)
    total = share.sum(axis=2) + PLAIN * np.exp(-own)
    share /= total[:, :, None]
    alone = np.exp(by_chance)
    alone /= PLAIN + alone.sum(axis=1, keepdims=True)
    pull = reach * kept
    spread = pull * (pull * told)
    chance = np.concatenate([(alone * spread).sum(axis=1)[:, None], (share * spread[:, None]).sum(axis=2)], axis=1)
    moved = C * pull[:, None]
    moved *= share
    off = (moved.sum(axis=2) - reach) * factors.astype(kind)[:, :, None]
    form = np.concatenate([np.zeros_like(off[:, :1]), off**2], axis=1)
    share *= probable[:, None, None]
    pulled = (PLAIN * alone + share.sum(axis=1)) * pull
    return Weighed(rest.variance[:, None] + chance, form.astype(np.float64), pulled.astype(np.float64))
