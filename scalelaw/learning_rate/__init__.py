"""Learning rates: the optimum of every cell and its trend in size and epochs."""

from scalelaw.learning_rate.cells import LearningRates, optimal_learning_rates
from scalelaw.learning_rate.trend import RateTrend

__all__ = ["LearningRates", "RateTrend", "optimal_learning_rates"]
