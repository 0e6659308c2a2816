"""Scores extrapolation on the curves of Alabdulmohsin et al. (2022): each law, and the default.

    python analysis/extrapolation.py extrapolation_benchmark.csv [--sensitivity]

The file (columns domain, task, model, examples_seen, loss, is_fit_point) does not ship with the project. Every curve
is fitted to the points with is_fit_point = 1 and predicts the others; its score is the root mean square error of ln
loss, a domain's the median over its curves. `largest half` fits the last half of the points in ln x.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scalelaw import laws
from scalelaw.backtest import extrapolate
from scalelaw.backtest.continuation import continued
from scalelaw.backtest.settings import USUAL, Settings
from scalelaw.fitting import fit

Array = NDArray[np.float64]

CHANGES: dict[str, tuple[float, ...]] = {
    "kinship": (0.1, 0.15, 0.25, 0.3, 0.4),
    "tail": (0.35, 0.4, 0.6, 0.75),
    "enough": (1.0, 1.5, 2.5, 3.0),
    "rate": (0.6, 0.7, 0.8, 0.9, 1.0, 1.2),
    "rate_spread": (0.35, 0.7, 1.0),
    "bend": (-1.0, 0.0, 2.0),
    "bend_spread": (1.5, 2.0, 4.0),
    "straight": (0.001, 0.02, 0.1, 0.2),
    "outlying": (2.0, 5.0),
}
"""What each setting of the default is changed to, one at a time."""


@dataclass(frozen=True)
class Curve:
    """One curve: points to fit, points to predict."""

    domain: str
    x: Array
    y: Array
    ahead: Array
    truth: Array


def curves(path: str) -> Iterator[Curve]:
    """The file's curves in its order."""
    table = pd.read_csv(path)
    for (domain, _, _), rows in table.groupby(["domain", "task", "model"], sort=False):
        seen = rows["is_fit_point"] == 1
        x, y = rows["examples_seen"].to_numpy(float), rows["loss"].to_numpy(float)
        yield Curve(str(domain), x[seen], y[seen], x[~seen], y[~seen])


def by_law(kind: type[laws.Law], half: bool) -> Callable[[Curve], Array]:
    """Least squares of ln loss on the whole curve or its largest half."""

    def predict(curve: Curve) -> Array:
        middle = np.sqrt(curve.x.min() * curve.x.max()) if half else 0.0
        kept = curve.x >= middle
        found = fit(kind, C=curve.x[kept], L=curve.y[kept])
        return found.mean(found.centred({"C": curve.ahead})[0])

    return predict


def scores(predict: Callable[[Curve], Array], data: list[Curve]) -> dict[str, float]:
    """Domain -> median over its curves of the rms error of ln loss; `language` is the mean of LM's and NMT's."""
    found: dict[str, list[float]] = {}
    for curve in data:
        error = np.log(predict(curve)) - np.log(curve.truth)
        found.setdefault(curve.domain, []).append(float(np.sqrt(np.mean(error**2))))
    medians = {domain: float(np.median(values)) for domain, values in found.items()}
    return medians | {"language": (medians["LM"] + medians["NMT"]) / 2}


def line(name: str, score: dict[str, float], note: str = "") -> str:
    """One row of the table."""
    return (
        f"{name:28} {score['IC']:7.4f} {score['language']:9.4f} {score['LM']:7.4f} {score['NMT']:7.4f}  {note}".rstrip()
    )


def by_default(settings: Settings = USUAL) -> Callable[[Curve], Array]:
    """The default's middle."""

    def predict(curve: Curve) -> Array:
        return continued(curve.x, curve.y, curve.ahead, level=0.95, labels=None, settings=settings).mid

    return predict


def coverage(data: list[Curve]) -> str:
    """Share of held-out points inside the 95 % band, by domain and in all."""
    inside: dict[str, list[Array]] = {}
    for curve in data:
        band = extrapolate(curve.x, curve.y, curve.ahead)
        assert band.low is not None
        assert band.high is not None
        hit = (band.low <= curve.truth) & (curve.truth <= band.high)
        for key in (curve.domain, "all"):
            inside.setdefault(key, []).append(hit.astype(float))
    return ", ".join(
        f"{key} {np.concatenate(hits).mean():.3f} of points, {np.mean([h.mean() for h in hits]):.3f} by curve"
        for key, hits in inside.items()
    )


def main(path: str, sensitivity: bool) -> None:
    """Prints the table."""
    data = list(curves(path))
    print(f"{'':28}  vision  language      LM     NMT")
    for kind in (laws.PowerLaw, laws.OffsetPowerLaw, laws.ShiftedPowerLaw, laws.M4):
        for half in (False, True):
            name = f"{kind.word}, {'largest half' if half else 'whole curve'}"
            print(line(name, scores(by_law(kind, half), data)), flush=True)
    start = time.perf_counter()
    score = scores(by_default(), data)
    cost = (time.perf_counter() - start) / len(data)
    print(line("the default", score, f"{1000 * cost:.1f} ms a curve"))
    print(f"its 95 % bands cover: {coverage(data)}")
    for name, values in CHANGES.items() if sensitivity else ():
        for value in values:
            changed = scores(by_default(replace(USUAL, **{name: value})), data)
            print(line(f"{name} {value:g}, not {getattr(USUAL, name):g}", changed), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], "--sensitivity" in sys.argv)
