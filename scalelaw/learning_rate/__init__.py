"""Learning rates: the optimum of every cell, its trend in size and epochs, and laws of rate and batch size together."""

from scalelaw.learning_rate.candidates import TrendCandidate, TrendChoice
from scalelaw.learning_rate.cells import LearningRates, optimal_learning_rates
from scalelaw.learning_rate.edges import EdgeFits, fits_with_edges
from scalelaw.learning_rate.jackknife import RateLaw
from scalelaw.learning_rate.joint import JointOptimum, joint_optimum
from scalelaw.learning_rate.rate_law import rate_law
from scalelaw.learning_rate.shape import Shape
from scalelaw.learning_rate.trend import RateTrend

__all__ = [
    "EdgeFits",
    "JointOptimum",
    "LearningRates",
    "RateLaw",
    "RateTrend",
    "Shape",
    "TrendCandidate",
    "TrendChoice",
    "fits_with_edges",
    "joint_optimum",
    "optimal_learning_rates",
    "rate_law",
]
