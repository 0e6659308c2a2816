"""How large noise, size effects and the form's error may be: from replicates and from what the fit leaves over."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scalelaw.plan.design.information import Scales

Array = NDArray[np.float64]

FORM = (0.005, 0.02, 0.08, 0.25)
"""Standard deviations of the form's error in ln L that are thought equally likely before any run."""
SIZE = (0.0, 0.002, 0.004, 0.007, 0.01, 0.014, 0.02, 0.03)
"""The same of an effect that runs of one size share."""
NOISE = 24
"""Values of the noise, from a tenth of the residuals' spread to twice it, that are weighed against one another."""
FEWEST_SIZES = 3
"""With fewer sizes of at least two settings each an effect of size cannot be told from the curve, and is left out."""


@dataclass(frozen=True)
class Replicates:
    """What runs that are equal in everything but the seed say of the noise.

    Attributes:
        dof: replicates beyond the first of each setting.
        sd: standard deviation of ln L; None without replicates.
    """

    dof: int
    sd: float | None


def replicates(settings: NDArray[np.int64], log_loss: Array) -> Replicates:
    """The pooled spread of ln L within equal settings (runs,)."""
    counts = np.bincount(settings)
    mean = np.bincount(settings, log_loss) / np.maximum(counts, 1)
    dof = int((counts - 1).clip(0).sum())
    if not dof:
        return Replicates(0, None)
    sd = float(np.sqrt(((log_loss - mean[settings]) ** 2).sum() / dof))
    return Replicates(dof, sd) if sd > 0 else Replicates(0, None)  # copies are no replicates


def drawn(
    worlds: int,
    jacobian: Array,
    residual: Array,
    sizes: NDArray[np.int64],
    settings: NDArray[np.int64],
    features: Array,
) -> tuple[Scales, bool]:
    """Standard deviations for every world, drawn evenly from their posterior, and whether effects of size are in it.

    The likelihood is that of the residuals with what the fit takes away projected out.

    Args:
        worlds: how many.
        jacobian: (runs, 5) of ln L by the parameters that the fit estimates.
        residual: (runs,) of ln L.
        sizes: (runs,) number of each run's size.
        settings: (runs,) number of each run's setting; replicates share it.
        features: (runs, features) of the form's error at unit variance.
    """
    basis, spread, _ = np.linalg.svd(jacobian, full_matrices=True)
    left = basis[:, int((spread > 1e-10 * spread[0]).sum()) :]
    z = left.T @ residual
    pairs = np.unique(np.stack([sizes, settings]), axis=1)[0]
    told = int((np.bincount(pairs) >= 2).sum()) >= FEWEST_SIZES and len(z) > 1
    if not len(z) or not z @ z > 0:
        z, left = np.array([1e-3]), np.zeros((len(residual), 1))  # nothing is left over: a thousandth is assumed
    shared = left.T @ (sizes[:, None] == np.unique(sizes)[None])
    bent = left.T @ features
    rows = []
    for form in FORM:
        for size in SIZE if told else SIZE[:1]:
            values, vectors = np.linalg.eigh(form**2 * (bent @ bent.T) + size**2 * (shared @ shared.T))
            rotated = (vectors.T @ z) ** 2
            for noise in np.sqrt(z @ z / len(z)) * np.geomspace(0.1, 2.0, NOISE):
                total = np.maximum(values, 0.0) + noise**2
                rows.append((-0.5 * (np.log(total) + rotated / total).sum(), noise, size, form))
    table = np.array(rows)
    share = np.exp(table[:, 0] - table[:, 0].max())
    # evenly spaced shares of the posterior, in the order of the table: the form's error first
    at = np.searchsorted(np.cumsum(share) / share.sum(), (np.arange(worlds) + 0.5) / worlds)
    noise, size, form = table[np.minimum(at, len(table) - 1), 1:].T
    return Scales(noise, size, form), told
