"""chinchilla (Kyo Takano): its fit of one table, timed. Usage: python chinchilla_fit.py TABLE.csv STARTS_PER_AXIS

Its objective is the one of Hoffmann et al. 2022, Huber of log loss with delta 1e-3, a mean over runs; BFGS with
numerical derivatives starts from every point of a grid, on all cores at once. It has no bootstrap.
"""

import functools
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from chinchilla import Chinchilla
from chinchilla._metrics import log_huber

table, starts = pd.read_csv(sys.argv[1]), int(sys.argv[2])
with tempfile.TemporaryDirectory() as folder:
    frame = pd.DataFrame({"C": 6 * table["N"] * table["D"], "N": table["N"], "D": table["D"], "loss": table["loss"]})
    frame.to_csv(Path(folder) / "df.csv", index=False)
    grid = {  # its README's ranges
        "E": np.linspace(1, 2, starts),
        "a": np.linspace(1, 10, starts),
        "b": np.linspace(1, 10, starts),
        "alpha": np.linspace(0.1, 0.7, starts),
        "beta": np.linspace(0.1, 0.7, starts),
    }
    model = Chinchilla(folder, param_grid=grid, loss_fn=functools.partial(log_huber, delta=1e-3), log_level=50)
    model.visualizer.optim = lambda *args, **kwargs: None  # the plot that every fit draws is not timed
    start = time.perf_counter()
    model.fit()
    seconds = time.perf_counter() - start
print(json.dumps({"params": model.params, "fit_seconds": seconds, "starts": starts**5}))
