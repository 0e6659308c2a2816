"""simple-scaling-laws (Matthew McDermott): its fit of one table, timed. Usage: python ... TABLE.csv REPLICATES

It has least squares of the loss itself and no Huber objective; its bootstrap is a wild one over configurations.
"""

import json
import sys
import time

import numpy as np
import polars as pl
from simple_scaling_laws import fit
from simple_scaling_laws.model import raw_scale_params

table, replicates = pl.read_csv(sys.argv[1]), int(sys.argv[2])
runs = pl.DataFrame(
    {
        "training_run_id": [f"r{row}" for row in range(len(table))],
        "model_size__N": table["N"],
        "dataset_size__D": table["D"],
        "test_loss__L": table["loss"],
    }
)


def timed(draws):
    start = time.perf_counter()
    model = fit(runs, law="separable-power", n_draws=draws)
    return model, time.perf_counter() - start


one = min(timed(1)[1] for _ in range(5))  # it cannot do without a replicate
model, many = min((timed(replicates) for _ in range(2)), key=lambda pair: pair[1])
(target,) = model.targets
reference = np.array([model.observed_domain[name]["reference"] for name in model.law.predictors])
params = raw_scale_params(model.law, model.fits[target].params, reference)
print(json.dumps({"params": params, "fit_seconds": one, "bootstrap_seconds": many - one}))
