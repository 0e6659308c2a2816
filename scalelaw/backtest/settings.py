"""Settings of `extrapolate`, fixed in advance for every curve."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """Lengths are in ln x, for only ratios of x have a meaning.

    Attributes:
        kinship: points of one run closer than about this stray from any smooth law together, and count as one.
        tail: the level and the exponent c come from the end of the curve, weights exp(t / tail).
        enough, enough_for_noise: the tail is widened until its weights amount to this many points; to more where the
            scatter about the curve is measured.
        rate, rate_spread: ln delta ~ Normal(ln rate, rate_spread): two thirds of it between 1/2, the slow rate of
            learning theory, and somewhat above 1, the fast one.
        bend, bend_spread: ln g ~ Normal(bend, bend_spread), g relative to the largest x: the bend may be nearly
            anywhere, rather behind than ahead, since only the decelerating stretch is used.
        straight: prior probability of g = 0, a power law that never bends.
        outlying: points further from the curve than this many robust standard deviations weigh less (Huber's weights).
    """

    kinship: float = 0.2
    tail: float = 0.5
    enough: float = 2.0
    enough_for_noise: float = 6.0
    rate: float = 0.85
    rate_spread: float = 0.5
    bend: float = 1.0
    bend_spread: float = 3.0
    straight: float = 0.05
    outlying: float = 3.0


USUAL = Settings()
