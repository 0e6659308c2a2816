"""Fitting: fit(law, ...) -> Fit, with status, spread and bootstrap."""

from scalelaw.fitting.band import Band
from scalelaw.fitting.diagnosis import Status
from scalelaw.fitting.objectives import OBJECTIVES, Huber, LeastSquares, Objective
from scalelaw.fitting.resampling import Bootstrap
from scalelaw.fitting.result import Fit
from scalelaw.fitting.search import fit
from scalelaw.fitting.straightness import Curvature, curvature

__all__ = [
    "OBJECTIVES",
    "Band",
    "Bootstrap",
    "Curvature",
    "Fit",
    "Huber",
    "LeastSquares",
    "Objective",
    "Status",
    "curvature",
    "fit",
]
