"""Equal-compute layouts of a known surface, without noise or with it."""

import numpy as np
import pandas as pd

from scalelaw.laws import SizeData
from scalelaw.runs import RunTable

FLOP = np.geomspace(1e18, 1e21, 7)
CENTRED, LOW, HIGH = 0.0, -0.9, 0.9
"""Middle of the tested sizes over the optimum, in ln size."""


def truth(exponent, total=0.7):
    """A surface with optimal size 1e9 at 1e20 FLOP = 6 N D, growing as compute^exponent."""
    alpha, beta = total * (1 - exponent), total * exponent
    tokens = 1e20 / 6e9
    return SizeData(E=1.7, A=beta * 1e9**alpha, B=alpha * tokens**beta, alpha=alpha, beta=beta)


def table(law, offset=CENTRED, drift=0.0, half=2.3, sizes=9, noise=0.0, seed=0):
    """Equal-compute budgets with tokens and parameters alone; `drift` moves the sizes per unit of ln compute."""
    rng, rows = np.random.default_rng(seed), []
    for flop in FLOP:
        middle = np.log(law.optimum(flop, k=6)[0]) + offset + drift * np.log(flop / np.median(FLOP))
        N = np.exp(middle + np.linspace(-half, half, sizes))
        D = flop / 6 / N
        loss = law.predict(N=N, D=D) * np.exp(noise * rng.standard_normal(sizes))
        rows.append(pd.DataFrame({"params": N, "tokens": D, "budget": flop, "loss": loss}))
    return pd.concat(rows, ignore_index=True)


def runs(frame, **columns):
    return RunTable.from_frame(frame, columns={"N": "params", "D": "tokens", "C": "budget", **columns})
