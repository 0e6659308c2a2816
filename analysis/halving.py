"""Stopping rates early, replayed on the recorded sweep of six rates a cell: what `scalelaw sweep --halving` would have
saved, and by how much it would have moved what is fitted.

    python analysis/halving.py            # prints the table; -o FOLDER writes halving.md and halving.json

At a quarter and at half of the schedule the rates of a cell whose held-out loss (1,024 images, mean over its seeds) is
clearly behind stop. What is left is fitted as the full sweep is: the surface's exponents of size and images, the
frontier's exponent of size, and the trend of the best rate in size and epochs. A shift is set against the standard
error of the full sweep's estimate.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from scalelaw import fit, laws
from scalelaw.learning_rate import optimal_learning_rates
from scalelaw.learning_rate.halving import RUNGS, kept
from scalelaw.runs import RunTable

HERE = Path(__file__).resolve().parent
RECORDED = HERE.parent / "runs" / "recorded" / "two_trial"
CELL = ["macs_per_image", "images_seen"]


@dataclass(frozen=True)
class Moved:
    """An estimate from all runs, its standard error, and from the runs that were not stopped."""

    name: str
    full: float
    stderr: float | None
    halved: float


@dataclass(frozen=True)
class Halved:
    """What halving would have done.

    Attributes:
        runs, stopped: of the sweep.
        saved: share of the training images that were not shown.
        cells, lost: cells, and those whose best rate was stopped.
        regret: mean ln of the lowest loss that is left over the lowest of all.
        worst: the largest.
        moved: the estimates.
    """

    runs: int
    stopped: int
    saved: float
    cells: int
    lost: int
    regret: float
    worst: float
    moved: tuple[Moved, ...]


def halved(frame: pd.DataFrame, evaluations: pd.DataFrame) -> tuple[pd.DataFrame, float]:
    """The rows that are left, and the share of training images saved."""
    keep, saved = [], 0.0
    seen = {run_id: list(zip(rows.images_seen, rows.val_loss, strict=True))
            for run_id, rows in evaluations.sort_values("images_seen").groupby("run_id")}  # fmt: skip
    for (_, images), cell in frame.groupby(CELL):
        by_rate = {float(str(rate)): rows for rate, rows in cell.groupby("peak_lr")}
        for share in RUNGS:

            def at(run_id: str, least: float) -> float | None:
                return next((loss for shown, loss in seen[run_id] if shown >= least), None)

            losses: dict[float, float | None] = {}
            for rate, rows in by_rate.items():
                found = [at(run_id, share * images) for run_id in rows["run_id"]]
                known = [loss for loss in found if loss is not None and np.isfinite(loss)]
                losses[rate] = float(np.exp(np.mean(np.log(known)))) if len(known) == len(found) else None
            on = kept(losses)
            saved += sum(len(by_rate[rate]) * images * (1 - share) for rate in by_rate if rate not in on)
            by_rate = {rate: by_rate[rate] for rate in on}
        keep += list(by_rate.values())
    return pd.concat(keep, ignore_index=True), saved / float(frame["images_seen"].sum())


def estimates(frame: pd.DataFrame) -> Mapping[str, tuple[float, float | None]]:
    """What is fitted, each with its standard error."""
    runs = RunTable.from_frame(frame).finished()
    best = runs.best_over("peak_lr")
    surface = fit(laws.SizeData, N=best.macs_per_image, D=best.images_seen, L=best.val_loss)
    front = best.envelope()
    law = fit(laws.PowerLaw, C=front.core_hours, L=front.val_loss)
    trend = optimal_learning_rates(runs).trend
    found: dict[str, tuple[float, float | None]] = {
        "surface, exponent of size (alpha)": (surface.params["alpha"], surface.stderr["alpha"]),
        "surface, exponent of images (beta)": (surface.params["beta"], surface.stderr["beta"]),
        "loss along the front, exponent of compute": (law.params["alpha"], law.stderr["alpha"]),
    }
    for name, word in (("b", "size"), ("c", "epochs")):
        if name in trend.params:
            found[f"best rate, exponent of {word}"] = (trend.params[name], trend.stderr[name])
    return found


def measured() -> Halved:
    """The recorded sweep, full and halved."""
    frame = RunTable.load(RECORDED).frame
    left, saved = halved(frame, pd.read_parquet(RECORDED / "evaluations.parquet"))
    means = {name: rows.groupby([*CELL, "peak_lr"])["val_loss"].agg(lambda x: np.log(x).mean()) for name, rows in
             (("all", frame), ("left", left))}  # fmt: skip
    lowest = {name: losses.groupby(CELL).min() for name, losses in means.items()}
    regret = (lowest["left"] - lowest["all"]).to_numpy()
    full, part = estimates(frame), estimates(left)
    return Halved(
        runs=len(frame),
        stopped=len(frame) - len(left),
        saved=saved,
        cells=len(regret),
        lost=int((regret > 0).sum()),
        regret=float(regret.mean()),
        worst=float(regret.max()),
        moved=tuple(Moved(name, value, stderr, part[name][0]) for name, (value, stderr) in full.items()),
    )


def report(found: Halved) -> str:
    """The table, as Markdown."""
    lines = [
        f"{found.stopped} of {found.runs} runs stop early; {found.saved:.0%} of the training images are saved. "
        f"In {found.lost} of {found.cells} cells the best rate is among those that stop; mean regret "
        f"{found.regret:.3%}, worst {found.worst:.2%}.",
        "",
        "| estimate | full sweep | standard error | with halving | shift, standard errors |",
        "|---|---|---|---|---|",
    ]
    for one in found.moved:
        error = "unknown" if one.stderr is None else f"{one.stderr:.3f}"
        shift = "unknown" if not one.stderr else f"{(one.halved - one.full) / one.stderr:+.2f}"
        lines.append(f"| {one.name} | {one.full:.4f} | {error} | {one.halved:.4f} | {shift} |")
    return "\n".join(lines)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--out", type=Path, help="folder for halving.md and halving.json")
    args = parser.parse_args()
    found = measured()
    text = report(found)
    print(text)
    if args.out is not None:
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / "halving.md").write_text(text + "\n", encoding="utf-8")
        (args.out / "halving.json").write_text(json.dumps(asdict(found), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
