"""The demo is science: its layout recovers known exponents, and the recorded sweep has what a sweep must have."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import scalelaw as sl
from scalelaw.sweep import expand, read_spec

ROOT = Path(__file__).resolve().parents[1]
RECORDED = ROOT / "runs" / "recorded" / "demo"
PLANNED = expand(read_spec(ROOT / "runs" / "demo.toml"))


def simulated(exponent: float, noise: float, seed: int) -> sl.RunTable:
    """The demo's own runs with losses from a surface whose optimal size grows as compute^exponent.

    Learning rates get the same loss in every cell, so the best over them is the luckiest draw, as in a real sweep.
    """
    beta, alpha = exponent * 0.9, (1 - exponent) * 0.9
    macs = np.array([run.cost.size.macs_per_image for run in PLANNED], float)
    images = np.array([run.config.train.images for run in PLANNED], float)
    middle = np.exp(np.log(macs * images).mean())
    best = 3e5  # optimal multiply-adds at the middle of the layout
    A = 0.5 * best**alpha / alpha
    B = 0.5 * (middle / best) ** beta / beta
    rng = np.random.default_rng(seed)
    loss = (0.05 + A * macs**-alpha + B * images**-beta) * np.exp(noise * rng.standard_normal(len(PLANNED)))
    return sl.RunTable.from_frame(
        pd.DataFrame(
            {
                "variant": [run.config.model.variant for run in PLANNED],
                "macs_per_image": macs,
                "images_seen": images,
                "unique_images": [run.cost.facts.train_images for run in PLANNED],
                "epochs": [run.cost.epochs for run in PLANNED],
                "peak_lr": [run.config.train.peak_lr for run in PLANNED],
                "seed": [run.config.train.seed for run in PLANNED],
                "train_flop": [run.cost.train_flop for run in PLANNED],
                "core_hours": [run.cost.core_hours for run in PLANNED],
                "val_loss": loss,
            }
        )
    )


@pytest.mark.parametrize("noise", [0.002, 0.02])
@pytest.mark.parametrize("exponent", [0.3, 0.5, 0.7])
def test_known_exponents_come_out_of_the_demos_layout_or_are_refused(exponent: float, noise: float) -> None:
    """Mean over sweeps within .05 of the truth wherever an approach reports `converged`; most low-noise sweeps do."""
    kept: dict[str, list[float]] = {"surface": [], "equal_compute": []}
    for seed in range(8):
        front = sl.frontier(simulated(exponent, noise, seed))
        for approach, found in kept.items():
            trend = front.approaches[approach]["size"]
            if trend.status == "converged":
                found.append(trend.params["alpha"])
        assert front.approaches["envelope"]["size"].status in ("set_by_grid", "failed")
    for approach, found in kept.items():
        if found:
            assert abs(np.mean(found) - exponent) < 0.05, (approach, found)
    if noise < 0.01:
        assert len(kept["surface"]) >= 6


@pytest.fixture(scope="module")
def runs() -> sl.RunTable:
    return sl.RunTable.load(RECORDED)


def test_the_recorded_sweep_is_the_spec_and_carries_its_provenance(runs: sl.RunTable) -> None:
    assert set(runs.frame["run_id"]) == {run.run_id for run in PLANNED}
    assert (runs.frame["status"] == "finished").mean() > 0.95
    assert not runs.problems
    provenance = json.loads((RECORDED / "provenance.json").read_text(encoding="utf-8"))
    assert {"command", "machine", "commit", "date", "versions"} <= set(provenance)
    assert set(runs.frame["commit"]) == {provenance["commit"]}
    assert (RECORDED / "runs.parquet").stat().st_size < 300_000


def test_the_recorded_sweep_spans_what_a_sweep_must(runs: sl.RunTable) -> None:
    done = runs.finished()
    assert len(set(done.variant)) >= 5
    assert done.core_hours.max() / done.core_hours.min() >= 100
    cells = done.frame.groupby([done.cells(), "peak_lr"])["seed"].nunique()
    assert (cells.groupby(level=0).max() >= 3).sum() >= 4
    rates = done.frame.groupby(["variant", "images_seen"])["peak_lr"].nunique()
    assert rates.max() >= 5
    for _, tried in done.frame.groupby(done.cells())["peak_lr"]:
        ratio = np.diff(np.log2(np.unique(tried)))
        assert np.allclose(ratio, 1)


def test_most_optima_lie_inside_their_grids(runs: sl.RunTable) -> None:
    assert sl.optimal_learning_rates(runs).inside_share >= 0.8


def test_minima_are_bracketed_and_cross_one_epoch(runs: sl.RunTable) -> None:
    """Best lengths at or below one epoch at the small end, above it at the large end, most budgets bracketed."""
    front = sl.frontier(runs.finished().best_over("peak_lr"))
    minima = front.points[front.points["approach"] == "equal_compute"].sort_values("core_hours")
    assert len(minima) >= 4
    assert minima["bracketed"].mean() > 0.5
    assert minima["epochs"].iloc[0] <= 1 < minima["epochs"].iloc[-1]


@pytest.mark.parametrize(
    ("script", "recorded", "figure"),
    [
        ("figure2", "demo", "figure2"),
        ("figure3", "demo", "figure3"),
        ("frontier", "demo", "frontier"),
        ("figure2", "digits", "digits/figure2"),
        ("figure1", "transfer", "figure1"),
        ("error_vs_loss", "transfer", "error_vs_loss"),
    ],
)
def test_the_figures_are_redrawn_byte_for_byte(script: str, recorded: str, figure: str, tmp_path: Path) -> None:
    """`make figures` changes nothing: README's figures come from the recorded sweeps and nowhere else."""
    command = [sys.executable, f"analysis/{script}.py", f"runs/recorded/{recorded}", "-o", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    for suffix in ("json", "pdf", "png"):
        drawn = (tmp_path / f"{script}.{suffix}").read_bytes()
        assert drawn == (ROOT / "analysis" / "figures" / f"{figure}.{suffix}").read_bytes(), suffix


def test_readme_states_what_the_recorded_sweep_says(runs: sl.RunTable) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    front = sl.frontier(runs.finished().best_over("peak_lr"))
    rates = sl.optimal_learning_rates(runs).trend
    low, high = front.loss.interval["alpha"]
    assert f"| -{front.loss.params['alpha']:.3f} | -{high:.3f} to -{low:.3f} | {front.loss.status} |" in readme
    stated = [(front.approaches[name]["size"], "best size") for name in ("surface", "equal_compute")]
    stated += [(front.epochs, "best epochs")]
    for trend, about in stated:
        low, high = trend.interval["alpha"]
        row = f"{trend.params['alpha']:.3f} | {low:.3f} to {high:.3f} | {trend.status}"
        assert row in readme, (about, row)
    for name in ("b", "c"):
        low, high = rates.interval[name]
        assert f"{rates.params[name]:.2f} | {low:.2f} to {high:.2f} | {rates.status}" in readme
    bend = front.curvature
    assert bend is not None
    assert f"{bend.value:.4f} ({bend.low:.4f} to {bend.high:.4f})" in readme


def test_readme_states_how_the_prediction_fared() -> None:
    """Favourable or not: the seeds of the proposed model, and the means of its neighbours."""
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    frame = sl.RunTable.load(ROOT / "runs" / "recorded" / "prediction").finished().frame
    mean = frame.groupby("variant")["val_loss"].mean()
    assert f"mean {mean['N5']:.3f}, N6 {mean['N6']:.3f}, N4 {mean['N4']:.3f}" in readme
    losses = frame.loc[frame["variant"] == "N5", "val_loss"].sort_values()
    assert " ".join(f"{loss:.3f}" for loss in losses) in readme
    by_seed = frame.pivot_table(index="seed", columns="variant", values="val_loss")
    assert (by_seed.idxmin(axis=1) == "N5").all()
    plan = sl.predict(sl.RunTable.load(RECORDED), sl.Budget(times=4))
    assert plan.loss_low is not None
    assert plan.loss_high is not None
    assert ((losses > plan.loss_low) & (losses < plan.loss_high)).all()


def test_hardly_a_held_out_image_has_a_twin_in_training() -> None:
    (facts,) = RECORDED.glob("hierarchy-*.json")
    assert json.loads(facts.read_text(encoding="utf-8"))["holdout_twin_share"] < 0.01
