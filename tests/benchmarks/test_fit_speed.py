"""`make bench`: how fast fits are, beside scipy's least squares doing the same work."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from scipy.optimize import least_squares

import scalelaw as sl

RNG = np.random.default_rng(0)
N = RNG.uniform(5, 9, 240)
D = RNG.uniform(7, 11, 240)
L = (1.8 + 480 / np.exp(N * 2.3) ** 0.35 + 2100 / np.exp(D * 2.3) ** 0.37) * np.exp(0.003 * RNG.standard_normal(240))
RUNS = {"N": 10**N, "D": 10**D, "L": L}


def with_scipy() -> float:
    """The same five-parameter least squares from 13 starts, as a careful user would write it."""
    best = np.inf
    for alpha in np.linspace(0.1, 0.7, 13):
        start = np.array([np.log(L.min() * 0.9), np.log(400), np.log(2000), alpha, alpha])

        def residuals(theta: Any) -> Any:
            e, a, b, alpha, beta = theta
            terms = np.stack([np.full(240, e), a - alpha * np.log(RUNS["N"]), b - beta * np.log(RUNS["D"])])
            return np.logaddexp.reduce(terms) - np.log(L)

        best = min(best, 2 * least_squares(residuals, start, method="lm", xtol=1e-12, ftol=1e-12).cost)
    return best


@pytest.mark.benchmark(group="one five-parameter fit of 240 runs")
def test_fit(benchmark: Any) -> None:
    fit = benchmark(lambda: sl.fit(sl.laws.SizeData, **RUNS))
    start = time.perf_counter()
    peer = with_scipy()
    if benchmark.enabled:
        ratio = (time.perf_counter() - start) / benchmark.stats.stats.median
        benchmark.extra_info["scipy_seconds_over_ours"] = ratio
        print(f"\none fit: scipy's least squares from 13 starts takes {ratio:.1f} times as long")
    assert fit.objective_value <= peer * (1 + 1e-9)


@pytest.mark.benchmark(group="4,000 bootstrap replicates of a Huber fit of 240 runs")
def test_bootstrap(benchmark: Any) -> None:
    fit = sl.fit(sl.laws.SizeData, objective=sl.Huber(1e-3), **RUNS)
    drawn = benchmark.pedantic(lambda: fit.bootstrap(4000, seed=0), rounds=3)
    assert drawn.certified.mean() > 0.99
