"""Frontiers: optimal size, epochs and loss against compute."""

from scalelaw.frontiers.approaches import Frontier, frontier
from scalelaw.frontiers.trend import Trend

__all__ = ["Frontier", "Trend", "frontier"]
