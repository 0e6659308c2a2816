"""Learning rate in two trials, replayed: on sweeps that tried many rates in every cell, what two chosen ones would have
reached.

    python analysis/two_trials.py            # prints the tables; -o FOLDER writes two_trials.md and two_trials.json

A cell is a size trained for a length (of Step Law also with a batch size); its regret is ln of the loss that a rule
reaches over the lowest of its grid. The rules:

    constant        one rate for all cells, the best one in hindsight (the nearest of the grid).
    one trial       the first rate that `scalelaw sweep --lr two-trial` tries.
    two trials      the better of its two.

It is replayed over orders of the cells: by cost, as a sweep does, and at random. Beside it stand two bounds of what
could be reached at all: `left out` knows every rate of all other cells and then tries two; `own basin` is told, for
every cell, the smooth curve through all of its own rates, and takes the two lowest points of it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scalelaw.learning_rate.basin import phi
from scalelaw.learning_rate.belief import believe
from scalelaw.learning_rate.trials import Cell, Trial
from scalelaw.learning_rate.two_trials import MOST, next_rate, schedule
from scalelaw.runs import RunTable

Array = NDArray[np.float64]
HERE = Path(__file__).resolve().parent
STEP_LAW = HERE.parent.parent / "shared" / "data" / "step_law_dense.csv"
RECORDED = HERE.parent / "runs" / "recorded" / "two_trial"
NEAR = float(np.log(1.001))
RANDOM_ORDERS = 5
ASKED = 40
"""Cells that the bound `left out` is asked for, at most."""
WIDTH = 1.2
"""Of the rates that make a cell's own smooth curve, in ln rate."""


@dataclass(frozen=True)
class Grid:
    """Cells, and for each the outcome at every rate of its grid."""

    name: str
    cells: tuple[Cell, ...]
    outcomes: tuple[dict[float, Trial], ...]

    @property
    def lowest(self) -> Array:
        """ln of the lowest loss of every cell's grid, (cells,)."""
        return np.array([min(map(_log_loss, outcomes.values())) for outcomes in self.outcomes])


@dataclass(frozen=True)
class Score:
    """Share of the cells within .1 % of their grid's best, and mean regret in ln loss."""

    within: float
    regret: float

    @staticmethod
    def of(losses: Array, grid: Grid) -> Score:
        """Of the ln losses that a rule reached, (cells,), NaN for cells that were not asked."""
        regret = (losses - grid.lowest)[~np.isnan(losses)]
        return Score(float((regret <= NEAR).mean()), float(regret.mean()))


@dataclass(frozen=True)
class Replay:
    """All rules on one grid; `random` holds two trials for every random order."""

    name: str
    cells: int
    rates: int
    constant_rate: float
    constant: Score
    one: Score
    two: Score
    random: tuple[Score, ...]
    left_out: Score
    own_basin: Score


def _log_loss(trial: Trial) -> float:
    return np.inf if trial.log_loss is None else trial.log_loss


def step_law(best_batch: bool) -> Grid:
    """Every (parameters, tokens, batch size), or every (parameters, tokens) at its best batch size."""
    table = pd.read_csv(STEP_LAW)
    if best_batch:
        lowest = table.loc[table.groupby(["params", "tokens"])["smooth_loss"].idxmin()]
        table = table.merge(lowest[["params", "tokens", "batch_size_sequences"]])
    keys = ["params", "tokens", "batch_size_sequences"]
    cells, outcomes = [], []
    for at, (_, rows) in enumerate(table.sort_values([*keys, "peak_lr"]).groupby(keys)):
        first = rows.iloc[0]
        cells.append(Cell(first.params, first.tokens, tuple(rows.peak_lr), batch=first.batch_size_sequences))
        outcomes.append(
            {r: Trial(at, r, float(np.log(x))) for r, x in zip(rows.peak_lr, rows.smooth_loss, strict=True)}
        )
    name = "Step Law, (N, D) at its best batch" if best_batch else "Step Law, every (N, D, batch)"
    return Grid(name, tuple(cells), tuple(outcomes))


def recorded(seed: int | None) -> Grid:
    """The recorded sweep: a trial is a rate with its three seeds, or one seed of it."""
    frame = RunTable.load(RECORDED).frame
    if seed is not None:
        frame = frame[frame["seed"] == seed]
    cells, outcomes = [], []
    for at, (_, rows) in enumerate(frame.groupby(["macs_per_image", "images_seen"])):
        found = {}
        for rate, runs in rows.groupby("peak_lr"):
            log_loss = None if (runs["status"] != "finished").any() else float(np.log(runs["val_loss"]).mean())
            found[float(str(rate))] = Trial(at, float(str(rate)), log_loss, len(runs))
        first = rows.iloc[0]
        cells.append(Cell(float(first.macs_per_image), float(first.images_seen), tuple(found), float(first.batch_size)))
        outcomes.append(found)
    return Grid(
        "two_trial, three seeds a rate" if seed is None else f"two_trial, seed {seed} alone",
        tuple(cells),
        tuple(outcomes),
    )


def constant(grid: Grid) -> tuple[float, Array]:
    """The constant rate of least mean regret, and the ln losses it reaches."""

    def losses(rate: float) -> Array:
        nearest = [min(outcomes, key=lambda other: abs(np.log(other / rate))) for outcomes in grid.outcomes]
        return np.array([_log_loss(outcomes[r]) for outcomes, r in zip(grid.outcomes, nearest, strict=True)])

    rates = sorted({rate for cell in grid.cells for rate in cell.rates})
    best = min(rates, key=lambda rate: float(losses(rate).mean()))
    return best, losses(best)


def replayed(grid: Grid, order: Sequence[int] | None = None) -> tuple[Array, Array]:
    """ln losses after one trial and after two, (cells,)."""
    made = schedule(grid.cells, lambda at, rate: grid.outcomes[at][rate], order=order)
    assert not made.open
    assert max(np.bincount([trial.cell for trial in made.tried])) <= MOST
    one, two = np.full(len(grid.cells), np.nan), np.full(len(grid.cells), np.inf)
    for trial in made.tried:
        one[trial.cell] = _log_loss(trial) if np.isnan(one[trial.cell]) else one[trial.cell]
        two[trial.cell] = min(two[trial.cell], _log_loss(trial))
    return one, two


def left_out(grid: Grid) -> Array:
    """ln losses of two trials by one who knows every rate of all other cells; of many cells, some are asked."""
    found = np.full(len(grid.cells), np.nan)
    for at in range(0, len(grid.cells), -(-len(grid.cells) // ASKED)):
        cell = grid.cells[at]
        others = [trial for k, outcomes in enumerate(grid.outcomes) if k != at for trial in outcomes.values()]
        belief, own = believe(grid.cells, others), list[Trial]()
        while (rate := next_rate(belief, cell, at, own)) is not None:
            own.append(grid.outcomes[at][rate])
        found[at] = min(map(_log_loss, own))
    return found


def own_basin(grid: Grid) -> Array:
    """ln losses of the two rates that are lowest on the smooth curve through a cell's own rates."""
    found = []
    for outcomes in grid.outcomes:
        x, y = np.log(list(outcomes)), np.array([_log_loss(trial) for trial in outcomes.values()])
        u = x - x[np.argmin(y)]
        use = (np.abs(u) <= WIDTH) & np.isfinite(y)
        if use.sum() < 4:
            use = np.isin(np.arange(len(u)), np.argsort(np.where(np.isfinite(y), np.abs(u), np.inf))[:4])
        curves = []
        for skew in np.linspace(-0.5, 2, 26):
            design = np.stack([np.ones(use.sum()), u[use], phi(u[use], skew)], axis=1)
            curve = design @ np.linalg.lstsq(design, y[use])[0]
            curves.append((float(((curve - y[use]) ** 2).sum()), curve))
        found.append(float(y[use][np.argsort(min(curves, key=lambda one: one[0])[1])[:MOST]].min()))
    return np.array(found)


def replay(grid: Grid) -> Replay:
    """Every rule on one grid."""
    rate, losses = constant(grid)
    one, two = replayed(grid)
    orders = [np.random.default_rng(seed).permutation(len(grid.cells)).tolist() for seed in range(1, RANDOM_ORDERS + 1)]
    return Replay(
        name=grid.name,
        cells=len(grid.cells),
        rates=sum(len(cell.rates) for cell in grid.cells),
        constant_rate=rate,
        constant=Score.of(losses, grid),
        one=Score.of(one, grid),
        two=Score.of(two, grid),
        random=tuple(Score.of(replayed(grid, order)[1], grid) for order in orders),
        left_out=Score.of(left_out(grid), grid),
        own_basin=Score.of(own_basin(grid), grid),
    )


def report(found: list[Replay]) -> str:
    """The table and what it says, as Markdown."""
    lines = [
        "Cells within .1 % of their grid's best loss, and mean regret, of each rule.",
        "",
        "| grid | cells | rates a cell | constant | one trial | two trials, by cost | two trials, 5 random orders | "
        "left out | own basin |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for one in found:
        shares, regrets = [s.within for s in one.random], [s.regret for s in one.random]
        said = " | ".join(_said(score) for score in (one.constant, one.one, one.two))
        lines.append(
            f"| {one.name} | {one.cells} | {one.rates / one.cells:.1f} | {said} | {np.mean(shares):.1%} "
            f"({min(shares):.1%} to {max(shares):.1%}), {np.mean(regrets):.3%} | {_said(one.left_out)} | "
            f"{_said(one.own_basin)} |"
        )
    lines += ["", "What was asked of two trials by cost: 95 % of the cells within .1 %, and a mean regret of at most a "
              "quarter of the best constant rate's.", ""]  # fmt: skip
    for one in found:
        ratio = one.two.regret / one.constant.regret
        near = "reached" if one.two.within >= 0.95 else "not reached"
        quarter = "reached" if ratio <= 0.25 else "not reached"
        lines.append(f"- {one.name}: {one.two.within:.1%}, {near}; {ratio:.2f} of the constant's regret, {quarter}")
    return "\n".join(lines)


def _said(score: Score) -> str:
    return f"{score.within:.1%}, {score.regret:.3%}"


def main() -> None:
    """Replays every grid there is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--out", type=Path, help="folder for two_trials.md and two_trials.json")
    args = parser.parse_args()
    grids = [recorded(None), *(recorded(seed) for seed in range(3))]
    if STEP_LAW.exists():
        grids += [step_law(best_batch=False), step_law(best_batch=True)]
    else:
        print(f"{STEP_LAW}: absent, so Step Law is left out")
    found = []
    for grid in grids:
        found.append(replay(grid))
        print(f"{grid.name}: replayed", flush=True)
    text = report(found)
    print(text)
    if args.out is not None:
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / "two_trials.md").write_text(text + "\n", encoding="utf-8")
        numbers = json.dumps([asdict(one) for one in found], indent=1)
        (args.out / "two_trials.json").write_text(numbers + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
