"""What choosing by error gains over choosing by loss, and how the two choices differ in size.

Both surfaces are refitted to the same draws of pre-training runs, so that what a draw does to both cancels.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scalelaw.fitting.paired import Paired, paired
from scalelaw.laws import Law, Split
from scalelaw.plan.ground import Ground
from scalelaw.plan.surfaces import Surfaces

Array = NDArray[np.float64]
End = float | None

DRAWS = 1000
UNIT = "pretraining_cell"
"""Column that numbers pre-training runs alike but for learning rate and seed: what is drawn."""
FIRM = "converged", "at_bound"
"""Statuses of a surface that say where its optimum is."""


@dataclass(frozen=True)
class Gain:
    """Top-1 error of the choice by loss less that of the choice by error, both as the surface of errors has them.

    Attributes:
        difference: a share; 0 where both choose one model.
        low, high: 95 %, by resampling pre-training runs with both choices held; None where unknown, and where they are
            one choice.
        verdict: `same model`, `choose by error` or `cannot tell`.
    """

    difference: float
    low: End
    high: End
    verdict: str

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, None for what is unknown."""
        return asdict(self)


@dataclass(frozen=True)
class SizeRatio:
    """The size of lowest error over that of lowest loss, of any size, at the budget.

    Attributes:
        ratio: in multiply-adds an image; the ratio of images is one over it. None where a surface has no optimum.
        low, high: 95 %, by resampling pre-training runs in both surfaces at once; None where open or unknown.
        verdict: `larger`, `smaller` or `cannot tell`.
    """

    ratio: End
    low: End
    high: End

    @property
    def verdict(self) -> str:
        if self.ratio is not None and self.low is not None and self.low > 1:
            return "larger"
        if self.ratio is not None and self.high is not None and self.high < 1:
            return "smaller"
        return "cannot tell"

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, None for what is unknown."""
        return {**asdict(self), "verdict": self.verdict}


def resampled(losses: Ground, errors: Ground, seed: int = 0, draws: int = DRAWS) -> Paired | None:
    """Replicates of the surface of losses and of that of errors; None where one of them is no certified optimum."""
    if "failed" in (losses.surface.status, errors.surface.status):
        return None
    labels = [ground.best.frame[UNIT].to_numpy(np.int64) for ground in (losses, errors)]
    _, numbers = np.unique(np.concatenate(labels), return_inverse=True)
    split = len(labels[0])
    return paired([losses.surface, errors.surface], [numbers[:split], numbers[split:]], draws, seed)


def gain(found: Paired | None, errors: Ground, by_error: tuple[float, float], by_loss: tuple[float, float]) -> Gain:
    """The gain of one choice over the other, each its (multiply-adds an image, images)."""
    if by_error[0] == by_loss[0]:
        return Gain(0.0, None, None, "same model")
    macs, images = (np.array(pair) for pair in zip(by_error, by_loss, strict=True))
    at = errors.surface.mean(errors.surface.centred({"N": macs, "D": images})[0])
    difference = float(at[1] - at[0])
    if found is None:
        return Gain(difference, None, None, "cannot tell")
    _, law = found.laws
    assert isinstance(law, Split)
    drawn = Surfaces.of(law).loss(macs, images)
    low, high = found.interval(drawn[:, 1] - drawn[:, 0])
    firm = errors.surface.status in FIRM and low is not None and low > 0
    return Gain(difference, low, high, "choose by error" if firm else "cannot tell")


def size_ratio(found: Paired | None, losses: Ground, errors: Ground, flop: float) -> SizeRatio:
    """How the best sizes differ at training FLOP."""
    log_c = float(np.log(flop / 6))
    fits = [losses.surface, errors.surface]
    if not all(fit.status in FIRM for fit in fits):
        return SizeRatio(None, None, None)
    own = [_log_size(fit.fitted, log_c) for fit in fits]
    ratio = float(np.exp(own[1] - own[0])) if np.isfinite(own).all() else None
    if found is None or ratio is None:
        return SizeRatio(ratio, None, None)
    by_loss, by_error = (_log_size(law, log_c) for law in found.laws)
    low, high = found.interval(by_error - by_loss)
    with np.errstate(over="ignore"):
        ends = [None if end is None else float(np.exp(end)) for end in (low, high)]
    return SizeRatio(ratio, *(None if end is None or not np.isfinite(end) else end for end in ends))


def _log_size(law: Law, log_c: float) -> Any:
    """ln of the best size at ln(FLOP / 6); NaN where an exponent is not positive."""
    assert isinstance(law, Split)
    with np.errstate(all="ignore"):
        return law.log_balance + law.size_exponent * log_c
