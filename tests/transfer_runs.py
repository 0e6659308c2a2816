"""Pre-training runs and their fine-tuned ones from known surfaces of loss and of error."""

import numpy as np
import pandas as pd
from test_frontiers import demo, truth

from scalelaw import compute
from scalelaw.laws import SizeData
from scalelaw.runs import RunTable

FLOP = 3e12
"""About the middle of what a plan is asked for here: a few times the largest run."""


def error_truth(shift=1.0, exponent=0.5, total=0.75):
    """Errors of .06 and more, whose best size is `shift` times that of lowest loss at every compute."""
    law = truth(exponent, total)
    factor = shift ** (law.alpha + law.beta)  # G^(alpha + beta) = alpha A / (beta B)
    scale = 0.12
    return SizeData(
        E=0.06, A=scale * law.A * factor**0.5, B=scale * law.B * factor**-0.5, alpha=law.alpha, beta=law.beta
    )


def sweep_and_transfer(shift=1.0, noise=0.004, error_noise=0.02, seed=0, budgets=6, grid=True):
    """The demo's layout by loss, and every run of it fine-tuned at two rates."""
    rng = np.random.default_rng(1000 + seed)
    parents = demo(0.5, seed=seed, noise=noise, budgets=budgets, grid=grid).frame
    parents = parents.assign(run_id=[f"p{k}" for k in range(len(parents))], parent=None)
    law, rows = error_truth(shift), []
    for start in parents.to_dict("records"):
        error = float(law.predict(N=start["macs_per_image"], D=start["images_seen"]))
        error *= np.exp(error_noise * rng.standard_normal())
        flop = compute.train_flop(start["macs_per_image"], 20_000)
        for rate, worse in ((0.1, 1.0), (0.4, 1.2)):
            rows.append({
                **start, "run_id": f"{start['run_id']}-{rate}", "parent": start["run_id"], "peak_lr": rate,
                "params": start["params"] - 90 * (start["params"] - start["params_body"]) // 100,
                "images_seen": 20_000, "unique_images": 1_000, "epochs": 20.0, "train_flop": flop,
                "core_hours": compute.core_hours(flop), "val_loss": 1.0, "top1_error": error * worse,
                "parent_core_hours": start["core_hours"], "parent_val_loss": start["val_loss"],
                "parent_epochs": start["epochs"], "parent_peak_lr": start["peak_lr"],
            })  # fmt: skip
    return RunTable.from_frame(pd.concat([parents, pd.DataFrame(rows)], ignore_index=True))
