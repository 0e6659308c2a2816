"""A second opinion on the planned loss: the mean over forms that the truth may have, beside the fitted surface's.

What it is and how forms are weighed is in `average`. Nothing of the plan but a caveat depends on it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scalelaw.fitting.straightness import t_quantile
from scalelaw.laws import Split
from scalelaw.plan.average import mean_of_forms
from scalelaw.plan.average.posterior import Runs
from scalelaw.plan.design.forms import NAMES
from scalelaw.plan.ground import Ground
from scalelaw.plan.interval import LEVEL, Spread

Array = NDArray[np.float64]

NOISIEST = 0.25
"""Runs that scatter by more, in ln loss, tell no form from another: the prior alone would speak."""


@dataclass(frozen=True)
class OtherForms:
    """What is to be expected of one run where the surface's form is not taken for granted.

    Attributes:
        loss: exp of the mean of ln loss over forms.
        low, high: 95 % interval of one run.
        weights: name of `design.forms.NAMES` -> probability of that form.
        floor: probability that the loss has a floor above 0.
    """

    loss: float
    low: float
    high: float
    weights: dict[str, float]
    floor: float

    @property
    def likeliest(self) -> str:
        """The form of most weight."""
        return max(self.weights, key=self.weights.__getitem__)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers."""
        return asdict(self)

    def __str__(self) -> str:
        each = ", ".join(f"{name} {100 * weight:.0f} %" for name, weight in self.weights.items())
        ends = f"95 % of runs between {self.low:.4f} and {self.high:.4f}"
        return f"{self.loss:.4f} ({ends}): {each}; a floor {100 * self.floor:.0f} %"


def other_forms(ground: Ground, spread: Spread | None, macs: float, images: float) -> OtherForms | None:
    """The loss of one run as a mean over forms, weighed by what the best runs say of each.

    Args:
        ground: what a plan stands on.
        spread: of one run, as the plan's interval has it.
        macs, images: multiply-adds an image and images of the planned run.

    Returns:
        None where the surface is not of size and data, failed or is not identified, and where the runs' noise is
        unknown, 0 or above `NOISIEST`.
    """
    law = ground.surface.fitted
    if not isinstance(law, Split) or ground.surface.status in ("failed", "not_identified"):
        return None
    if spread is None or not 0 < spread.seeds <= NOISIEST:
        return None
    loss = ground.best.val_loss.astype(float)
    runs = Runs(
        x=np.log(np.stack([ground.macs, ground.images])),
        log_loss=np.log(loss)[None],
        weights=np.ones((1, len(loss))),
        noise=np.array([spread.seeds]),
    )
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):  # dead terms; steps far from any surface
        start = np.array([[np.log(law.E), np.log(law.A), np.log(law.B), law.alpha, law.beta]])
        found = mean_of_forms(law, runs, start, np.log([[macs], [images]]))
    middle = float(found.log_loss[0, 0])
    half = t_quantile(LEVEL, spread.dof) * float(np.hypot(found.sd[0, 0], spread.seeds))
    low, high = np.exp([middle - half, middle + half]).tolist()
    if not np.isfinite([low, high]).all():
        return None
    weights = dict(zip(NAMES, found.weights[0].tolist(), strict=True))
    return OtherForms(float(np.exp(middle)), low, high, weights, float(found.floor[0]))
