"""Learning rate in two trials, replayed: on sweeps that tried many rates in every cell, what two chosen ones a cell
would have reached.

    python analysis/two_trials.py            # prints the tables; -o FOLDER writes two_trials.md and two_trials.json

A cell is a size trained for a length (of Step Law also with a batch size); its regret is ln of the loss that a rule
reaches over the lowest of its grid. The rules:

    constant        one rate for all cells, the best one in hindsight (the nearest of the grid).
    one trial       the first of the two rates that `scalelaw sweep --lr two-trial` tries in a cell.
    two trials      `--lr two-trial`: the better of two, in every cell.

The rule's chances are shares of random draws, and which cell comes next may hang on a hair: so it is replayed with ten
seeds of these draws (a sweep has the first), one cell at a time and with two and four side by side, as more workers
would have it. Beside it stand two bounds of what could be reached at all: `left out` knows every rate of all other
cells and then tries two; `own basin` is told, for every cell, the smooth curve through all of its own rates, and takes
the two lowest points of it.
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
from scalelaw.learning_rate.two_trials import NEAR, TRIALS, Draws, best_two, schedule
from scalelaw.runs import RunTable

Array = NDArray[np.float64]
HERE = Path(__file__).resolve().parent
STEP_LAW = HERE.parent.parent / "shared" / "data" / "step_law_dense.csv"
RECORDED = HERE.parent / "runs" / "recorded" / "two_trial"
SEEDS = 10
AT_A_TIME = (1, 2, 4)
ASKED = 40
"""Cells that the bound `left out` is asked for, at most."""
WIDTH = 1.2
"""Of the rates that make a cell's own smooth curve, in ln rate."""


def _log_loss(trial: Trial) -> float:
    return np.inf if trial.log_loss is None else trial.log_loss


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
    """All rules on one grid; `two` holds a score for every seed, by the cells at a time."""

    name: str
    cells: int
    rates: int
    constant_rate: float
    constant: Score
    one: Score
    two: dict[int, tuple[Score, ...]]
    left_out: Score
    own_basin: Score


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
        losses = zip(rows.peak_lr, rows.smooth_loss, strict=True)
        outcomes.append({rate: Trial(at, rate, float(np.log(loss))) for rate, loss in losses})
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


def replayed(grid: Grid, at_a_time: int = 1, seed: int = 0) -> tuple[Array, Array]:
    """ln losses of the first trial and of the better of both, each (cells,)."""
    made = schedule(grid.cells, lambda at, rate: grid.outcomes[at][rate], at_a_time, seed)
    count = np.bincount([trial.cell for trial in made.tried], minlength=len(grid.cells))
    assert (count == [min(TRIALS, len(cell.rates)) for cell in grid.cells]).all()
    first, best = np.full(len(grid.cells), np.nan), np.full(len(grid.cells), np.inf)
    for trial in made.tried:
        first[trial.cell] = _log_loss(trial) if np.isnan(first[trial.cell]) else first[trial.cell]
        best[trial.cell] = min(best[trial.cell], _log_loss(trial))
    return first, best


def left_out(grid: Grid) -> Array:
    """ln losses of two trials by one who knows every rate of all other cells; of many cells, some are asked."""
    found = np.full(len(grid.cells), np.nan)
    for at in range(0, len(grid.cells), -(-len(grid.cells) // ASKED)):
        cell = grid.cells[at]
        others = [trial for k, outcomes in enumerate(grid.outcomes) if k != at for trial in outcomes.values()]
        rates, _ = best_two(believe(grid.cells, others), cell, at, Draws.of(len(cell.rates)))
        found[at] = min(_log_loss(grid.outcomes[at][rate]) for rate in rates)
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
        found.append(float(y[use][np.argsort(min(curves, key=lambda one: one[0])[1])[:TRIALS]].min()))
    return np.array(found)


def replay(grid: Grid) -> Replay:
    """Every rule on one grid."""
    rate, losses = constant(grid)
    two = {k: tuple(Score.of(replayed(grid, k, seed)[1], grid) for seed in range(SEEDS)) for k in AT_A_TIME}
    return Replay(
        name=grid.name,
        cells=len(grid.cells),
        rates=sum(len(cell.rates) for cell in grid.cells),
        constant_rate=rate,
        constant=Score.of(losses, grid),
        one=Score.of(replayed(grid)[0], grid),
        two=two,
        left_out=Score.of(left_out(grid), grid),
        own_basin=Score.of(own_basin(grid), grid),
    )


def report(found: list[Replay]) -> str:
    """The tables and what they say, as Markdown."""
    lines = ["Cells within .1 % of their grid's best loss, and mean regret, of each rule, one cell at a time:", "",
             "| grid | cells | rates a cell | constant | one trial | two trials | left out | own basin |",
             "|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for one in found:
        rules = (one.constant, one.one, one.two[1][0], one.left_out, one.own_basin)
        said = " | ".join(f"{score.within:.1%}, {score.regret:.3%}" for score in rules)
        lines.append(f"| {one.name} | {one.cells} | {one.rates / one.cells:.1f} | {said} |")
    lines += ["", f"Two trials over {SEEDS} seeds of the draws: mean (least to most), mean regret, and its share of "
              "the constant's; by cells at a time:", "",
              f"| grid | {' | '.join(map(str, AT_A_TIME))} |", "|---" * (1 + len(AT_A_TIME)) + "|"]  # fmt: skip
    for one in found:
        said = " | ".join(_over_seeds(one.two[k], one.constant) for k in AT_A_TIME)
        lines.append(f"| {one.name} | {said} |")
    lines += ["", "What was asked of two trials: 95 % of the cells within .1 %, and a mean regret of at most a quarter "
              "of the best constant rate's.", ""]  # fmt: skip
    for one in found:
        asked = []
        for words, scores in (("as a sweep goes", one.two[1][:1]), (f"{SEEDS} seeds", one.two[1])):
            share, ratio = _mean(scores, one.constant)
            near, quarter = ("reached" if met else "not reached" for met in (share >= 0.95, ratio <= 0.25))
            asked.append(f"{words} {share:.1%}, {near}, and {ratio:.2f} of the constant's regret, {quarter}")
        lines.append(f"- {one.name}: {'; '.join(asked)}")
    return "\n".join(lines)


def _mean(scores: Sequence[Score], constant: Score) -> tuple[float, float]:
    regret = float(np.mean([score.regret for score in scores]))
    return float(np.mean([score.within for score in scores])), regret / constant.regret


def _over_seeds(scores: Sequence[Score], constant: Score) -> str:
    shares = [score.within for score in scores]
    mean, ratio = _mean(scores, constant)
    return f"{mean:.1%} ({min(shares):.1%} to {max(shares):.1%}), {ratio * constant.regret:.3%}, {ratio:.2f}"


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
