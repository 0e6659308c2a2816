"""What runs share: the units that a bootstrap draws, and the one that standard errors rest on."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scalelaw.errors import UserError, nearest
from scalelaw.fitting.linear import Clusters, Linear
from scalelaw.laws import Law

Array = NDArray[np.float64]
Labels = NDArray[np.int64]

DRAWN = ("run", "size", "compute", "wild", "wild-size", "residual")
"""Words of resampling units; besides them a column of the data, or one label a run."""
ENOUGH_SIZES = 8
"""From so many sizes on their spread is taken with reduced bias (CR2); below, sizes are left out one by one (CR3)."""
FEWEST_SIZES = 4
"""Below this many sizes nothing can be said about what runs of one size share."""
ONE_BUDGET = 0.05
"""Runs whose compute differs by less than this share have one budget."""


@dataclass(frozen=True)
class Unit:
    """What standard errors take as independent.

    Attributes:
        word: "run" or "size".
        sizes: how many different sizes the runs have; 0 where the law knows no size, or every run its own.
        clusters: of the linearised fit, None for runs.
    """

    word: str
    sizes: int
    clusters: Clusters | None = field(default=None, repr=False)

    @property
    def delete_one(self) -> bool:
        """Whether sizes are left out one by one, because they are few."""
        return self.sizes < ENOUGH_SIZES


def sizes(data: dict[str, Array]) -> Labels | None:
    """Labels (runs,) of the model sizes N; None where there is no N or each run has its own."""
    if "N" not in data:
        return None
    labels = np.unique(data["N"], return_inverse=True)[1].ravel()
    return None if labels.max() + 1 == len(labels) else labels


def widest(linear: Linear | None, data: dict[str, Array], revived: Linear | None = None) -> Unit:
    """The unit of a fit: sizes where they give any parameter a wider standard error than runs do, else runs.

    One unit for all that is asked of a fit: the wider for each quantity by itself would cover too much, because the
    residuals of independent runs hold what runs of a size share, whether or not it moves that quantity.

    Args:
        linear: the linearised fit.
        data: letter -> (runs,).
        revived: the same with terms alive that the fit has at 0, which are asked too.
    """
    labels = sizes(data)
    count = 0 if labels is None else len(np.unique(labels if linear is None else labels[linear.kept]))
    wider, own = False, None
    for one in (linear, revived):
        clusters = None if one is None else grouped(one, data)
        if one is None or clusters is None:
            continue
        own = clusters if one is linear else own
        every = np.eye(len(one.free))[one.free]
        wider |= bool((one.variance(every, clusters)[0] > one.variance(every)[0]).any())
    return Unit("size", count, own) if wider and own is not None else Unit("run", count)


def grouped(linear: Linear, data: dict[str, Array]) -> Clusters | None:
    """Clusters of runs of one size, left out one by one where sizes are few; None where they say nothing."""
    labels = sizes(data)
    if labels is None:
        return None
    count = len(np.unique(labels[linear.kept]))
    if count < FEWEST_SIZES:
        return None
    clusters = linear.clusters(labels, delete_one=count < ENOUGH_SIZES)
    return clusters if clusters.usable else None


def labels_of(law: type[Law], data: dict[str, Array], unit: str | ArrayLike) -> tuple[str, Labels]:
    """The word of a resampling unit and the number of each run's unit (runs,).

    Args:
        law: whose runs they are, for messages.
        data: letter -> (runs,).
        unit: one of `DRAWN`, a letter of the data, or one label a run.
    """
    runs = len(data["L"])
    if not isinstance(unit, str):
        labels = np.asarray(unit)
        if labels.shape != (runs,):
            raise UserError(f"bootstrap: labels have shape {labels.shape}; pass one a run, shape ({runs},)")
        return "labels", np.unique(labels, return_inverse=True)[1].ravel()
    if unit in ("run", "wild", "residual"):
        return unit, np.arange(runs)
    if unit in ("size", "wild-size"):
        if "N" not in data:
            raise UserError(f"bootstrap: law {law.word} has no size N; pass unit='run' or one label a run")
        return unit, np.unique(data["N"], return_inverse=True)[1].ravel()
    if unit == "compute":
        return unit, budgets(law, data)
    if unit in data and unit != "L":
        return unit, np.unique(data[unit], return_inverse=True)[1].ravel()
    known = [*DRAWN, *law.variables]
    raise UserError(
        f"bootstrap: unknown unit {unit!r}{nearest(unit, known)} (known: {', '.join(known)}, or one label a run)"
    )


def budgets(law: type[Law], data: dict[str, Array]) -> Labels:
    """Labels (runs,) of compute budgets: runs of nearly equal compute, or bins of a factor 2 where few are equal.

    Compute is C, or size times data where the law knows those.
    """
    if "C" in data:
        logs = np.log(data["C"])
    elif {"N", "D"} <= data.keys():
        logs = np.log(data["N"]) + np.log(data["D"])
    else:
        raise UserError(f"bootstrap: law {law.word} knows no compute; pass unit='run' or one label a run")
    order = np.argsort(logs, kind="stable")
    ranked = logs[order]
    labels = np.empty(len(logs), np.int64)
    at = count = 0
    while at < len(ranked):
        end = int(np.searchsorted(ranked, ranked[at] + ONE_BUDGET, side="right"))
        labels[order[at:end]] = count
        at, count = end, count + 1
    if count > len(logs) / 2:
        labels = np.unique(np.floor((logs - logs.min()) / np.log(2)), return_inverse=True)[1].ravel()
    return labels
