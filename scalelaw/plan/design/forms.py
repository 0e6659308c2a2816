"""Other forms that the truth may have, and how large each may be for what the runs say.

The fit is E + A N^-alpha + B D^-beta. Runs of one sweep can seldom tell it from a surface with a term in which size and
data do not add up, or from one whose exponent changes, least of all where the runs end: such a break shows in no run.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scalelaw.plan.design.worlds import Worlds

Array = NDArray[np.float64]

NAMES = ("additive", "interaction", "break of size", "break of data")
MIXED = 0.3
"""Standard deviation, before any run, of an interaction's factor c in c sqrt(A N^-alpha B D^-beta)."""
BREAK = 0.1
"""The same of what an exponent loses beyond the runs."""
SHARP = 2.0
"""A break takes a factor of about e^(4 / SHARP) in size or data."""
PLAIN = 0.5
"""Probability, before any run, that the truth is of the fitted form; the others share the rest."""
BROKEN_AT = (0.0, 0.5, 1.0)
"""Where between the smallest and the largest of the runs an exponent may change."""
PROBABLE = (1 - PLAIN) / (len(NAMES) - 1) * np.array([1.0, *[0.5 / len(BROKEN_AT)] * 2 * len(BROKEN_AT)])
"""(departures,) probability of each of `departures` before any run. The runs that will be reach about twice as far, and
so do the places where a break may be: half of its probability is theirs that `BROKEN_AT` does not name."""


def errors_of_form(worlds: Worlds, x: Array, ends: Array) -> Array:
    """(worlds, forms, points) of ln L at logs x (2, points) or (worlds, 2, points), at one standard deviation.

    Args:
        worlds: surfaces of the fitted form.
        x: ln N and ln D.
        ends: (2,) the largest ln N and ln D of the runs.
    """
    x = np.broadcast_to(x, (len(worlds), *x.shape[-2:]))
    parts = worlds.parts(x)
    S = parts.sum(axis=1)
    _, size, data = np.moveaxis(parts, 1, 0)
    beyond = np.logaddexp(0.0, SHARP * (x - ends[:, None])) / SHARP
    terms = [
        np.zeros_like(S),
        MIXED * np.sqrt(size * data),
        size * np.expm1(BREAK * beyond[:, 0]),
        data * np.expm1(BREAK * beyond[:, 1]),
    ]
    return np.asarray(np.stack(terms, axis=1) * (worlds.law.steepness(S) / S)[:, None])


def departures(worlds: Worlds, x: Array, ends: Array) -> Array:
    """(worlds, departures, points) of ln L at logs x, as `errors_of_form`: the interaction, and breaks of size and of
    data at `BROKEN_AT` between ends (2, 2), the smallest and the largest ln N and ln D of the runs."""
    low, high = ends
    found = [errors_of_form(worlds, x, low + place * (high - low)) for place in BROKEN_AT]
    return np.concatenate([found[0][:, 1:2], *(one[:, 2:] for one in found)], axis=1)


def shares(errors: Array, jacobian: Array, residual: Array, noise: Array) -> Array:
    """(worlds, forms) the size that each error is expected to have after the runs, over its standard deviation before.

    The root mean square of its factor's posterior, which is normal: the runs see of an error what the fit leaves over.

    Args:
        errors: (worlds, forms, runs) of ln L at the runs.
        jacobian: (worlds, runs, 5) of ln L there.
        residual: (worlds, runs) of ln L about each world.
        noise: (worlds,) of a run.
    """
    basis = np.linalg.qr(jacobian)[0]
    seen = errors - (errors @ basis) @ np.swapaxes(basis, 1, 2)
    seen, residual = seen / noise[:, None, None], residual / noise[:, None]
    variance = 1 / (1 + (seen**2).sum(axis=2))
    mean = variance * (seen @ residual[:, :, None])[:, :, 0]
    return np.asarray(np.sqrt(mean**2 + variance))
