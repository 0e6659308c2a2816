"""A results folder as pre-training leaves it, without training: rows, configurations and weights drawn at random."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from scalelaw import architecture
from scalelaw.runs import ResultsFolder, Run
from scalelaw.sweep import PlannedRun, expand, identity, read_spec

PRETRAIN = """
[sweep]
name = "pretrain"
[data]
source = "hierarchy"
train_images = 128
holdout_images = 32
classes = 4
symbols = 8
levels = 2
rules = 2
[model]
variants = ["N0", "N1"]
[train]
images = 256
peak_lr = [0.4, 0.8]
batch_size = 16
"""
FINETUNE = """
[sweep]
name = "fine"
[data]
source = "hierarchy"
train_images = 48
holdout_images = 32
classes = 5
symbols = 8
levels = 2
rules = 2
task_seed = 1
[train]
epochs = 3
peak_lr = 0.1
batch_size = 16
warmup_steps = 2
sam_radius = 0.0
[parent]
"""


def pretrained(folder: Path, text: str = PRETRAIN, **statuses: str) -> list[PlannedRun]:
    """Writes `pretrain.toml` and its results, `results/pretrain`; `run0="diverged"` says how a run ended, if it did."""
    spec = folder / "pretrain.toml"
    spec.write_text(text)
    runs = expand(read_spec(spec))
    results = ResultsFolder(folder / "results" / "pretrain", new=True)
    results.begin({"name": "pretrain", "runs": [run.run_id for run in runs]},
                  {run.run_id: run.config.to_json() for run in runs})  # fmt: skip
    for index, run in enumerate(runs):
        status = statuses.get(f"run{index}", "finished")
        facts = {**identity.of_config(run.config), "core_hours": run.cost.core_hours, "epochs": run.cost.epochs}
        if status in ("finished", "diverged", "failed"):
            results.commit_row(replace(Run(**facts), status=status, val_loss=1.5 - 0.1 * index))  # type: ignore[arg-type]
    return runs


def weights_of(run: PlannedRun, seed: int = 0) -> dict[str, Any]:
    """Weights of a run's network in which no parameter is at its start."""
    import jax

    from scalelaw.train import nfnet

    rng = np.random.default_rng(seed)
    model = architecture.variant(run.config.model.variant)
    drawn = nfnet.init(model, run.cost.facts.classes, jax.random.key(seed))
    return jax.tree.map(lambda x: np.asarray(x + 0.1 * rng.standard_normal(x.shape), np.float32), drawn)


def keep(folder: Path, run: PlannedRun, params: Any = None) -> Path:
    """Puts final weights in a run's folder, real ones or none in a whole archive. Returns that folder."""
    place = folder / "results" / "pretrain" / run.run_id
    if params is None:
        (place / "final").mkdir()
        np.savez(place / "final" / "weights.npz")
    else:
        from scalelaw.train import final

        final.write(place, final.gathered({"params": params}, params))
    return place
