"""Frontiers: optimal size, data, epochs and loss against compute, by several approaches side by side."""

from scalelaw.frontiers.approaches import Frontier, frontier
from scalelaw.frontiers.trend import Trend

__all__ = ["Frontier", "Trend", "frontier"]
