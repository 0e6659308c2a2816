"""Fitting: fit(law, ...) -> Fit, with status, spread and bootstrap."""

from scalelaw.fitting.band import Band
from scalelaw.fitting.diagnosis import Status
from scalelaw.fitting.objectives import OBJECTIVES, AbsoluteDeviation, Huber, LeastSquares, LowerEnvelope, Objective
from scalelaw.fitting.resampling import Bootstrap
from scalelaw.fitting.result import Fit
from scalelaw.fitting.search import fit
from scalelaw.fitting.straightness import Curvature, curvature
from scalelaw.fitting.warnings import CATALOGUE, FitWarning

__all__ = [
    "CATALOGUE",
    "OBJECTIVES",
    "AbsoluteDeviation",
    "Band",
    "Bootstrap",
    "Curvature",
    "Fit",
    "FitWarning",
    "Huber",
    "LeastSquares",
    "LowerEnvelope",
    "Objective",
    "Status",
    "curvature",
    "fit",
]
