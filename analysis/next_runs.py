"""How much compute `scalelaw plan` saves over other ways to spend it, by simulation.

    python analysis/next_runs.py                     # 100 draws a world
    python analysis/next_runs.py --only broken --draws 40
    python analysis/next_runs.py --draws 200 --again loss  # of recorded worlds, only the loss, with draws of its own

A pilot sweep (5 sizes x 5 lengths, three cells of three seeds) is drawn from a known world; the target lies at 64 times
its dearest run. Each design spends a share of the target's compute; the surface is then fitted to all runs, and its
answer at the target (best size, exponent; of the lowest loss the mean over forms) compared with the true one. The ratio
of a design is the compute at which it reaches the error of the planned runs, over theirs. Designs are laid out around
the optimum of each draw's own pilot fit, as the planned runs are. Some worlds have another form than the one fitted.

Writes next_runs.json (worlds already there with as many draws and the same seed are kept) and next_runs.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from coverage import provenance
from designs import (
    EQUAL,
    FLOOR,
    LARGEST,
    PILOT,
    SETTINGS,
    SIZES,
    STEP,
    TARGET,
    WORLDS,
    Array,
    World,
    fitted,
    log_loss_of,
    lowest_loss,
    noise_of,
    outcome,
    pilots,
    rms,
    seen,
    sizes_of,
)  # fmt: skip
from next_runs_tables import report, table

from scalelaw.plan.design.beside_one_run import BesideOneRun
from scalelaw.plan.design.estimated import Estimated, Ground
from scalelaw.plan.design.exchange import choose
from scalelaw.plan.design.form_error import FormError
from scalelaw.plan.design.information import Information, Question, Scales
from scalelaw.plan.design.scales import drawn
from scalelaw.plan.design.scenarios import Scenarios
from scalelaw.plan.design.worlds import WANTED, Want, Worlds

SPENDS = (1 / 64, 1 / 32, 1 / 16, 1 / 8, 1 / 4)
"""Shares of the target's compute; the pilot cost 0.06 of it."""
LADDER = tuple(2.0 ** np.arange(-7, 2.5, 0.5))
"""The same for the other designs: their curves are followed further."""
MOST = 24
MOST_OF_LOSS = 96
"""As `scalelaw plan` has it; best size and exponent were simulated with fewer."""
DRAWN = 12
"""Surfaces that a choice is averaged over."""


def grid_of(spend: float) -> Array:
    """(2, cells) every size and length that one run may have, none shorter than the pilot's."""
    cells = np.stack([np.repeat(SIZES, 40), np.tile(STEP * np.arange(40), len(SIZES))])
    return cells[:, cells.sum(axis=0) <= TARGET + np.log(spend) + 1e-9]


def planned(theta: Array, y: Array, want: Want, spend: float, rng: np.random.Generator) -> Array:
    """(draws, cells) runs that are chosen for each pilot, (draws, runs) of ln L, on `grid_of` the spend."""
    draws, runs = y.shape
    cells = grid_of(spend)
    fit = log_loss_of(theta, PILOT)
    residual = (y - fit) * np.sqrt(runs / (runs - 5))
    again = np.repeat(fit, 2 * DRAWN, axis=0)
    again += np.take_along_axis(np.repeat(residual, 2 * DRAWN, axis=0), rng.integers(0, runs, again.shape), axis=1)
    refits = fitted(PILOT, again, np.ones_like(again)).reshape(draws, 2 * DRAWN, 5)
    covers = FormError.over(np.concatenate([PILOT, cells, [[SIZES[-1]], [TARGET - SIZES[0]]]], axis=1))
    of_pilot, of_cells = covers.features(PILOT), covers.features(cells)
    bent = FormError.over(PILOT).features(PILOT)
    centre = float(PILOT[0].mean()), float(PILOT[1].mean())
    chosen = np.zeros((draws, cells.shape[1]))
    for k in range(draws):
        usable = np.isfinite(refits[k, :, 1:]).all(axis=1) & (abs(refits[k, :, 3:] - 1.01) < 0.99).all(axis=1)
        mine = refits[k][usable][:DRAWN]
        if len(mine) < 4:
            mine = np.concatenate([mine, [[np.log(FLOOR), -0.4, -0.4, 0.4, 0.4]]])
            mine[-1, 1:3] += 0.4 * np.array(centre)
        mine[:, 1:3] -= mine[:, 3:] * centre
        worlds = Worlds(mine, centre)
        scales, _ = drawn(len(mine), worlds.jacobian(PILOT)[0], y[k] - fit[k], sizes_of(PILOT), SETTINGS, bent)
        cost = np.exp(cells.sum(axis=0) - TARGET)
        if want == "loss":
            ground = Ground.of(worlds, scales, PILOT, cells, sizes_of(cells), TARGET)
            beside = BesideOneRun.of(Estimated.of(ground, PILOT, sizes_of(PILOT), y[k]).typical(), cost, spend)
            chosen[k] = choose(beside, cost, spend, MOST_OF_LOSS, together=1, wide=True).counts
            continue
        if want == "size":
            told = best_size(worlds, scales, y[k], cells)
            chosen[k] = choose(told, cost, spend, MOST, searches=1, together=1).counts
            continue
        points, factors = worlds.stencil(want, TARGET)
        question = Question(
            gradient=worlds.gradient(want, TARGET),
            jacobian=worlds.jacobian(cells),
            sizes=sizes_of(cells),
            features=of_cells,
            answer_features=np.einsum("wp,wpf->wf", factors, covers.features(points)),
            scales=scales,
        )
        start = Information.of(question, worlds.jacobian(PILOT), sizes_of(PILOT), of_pilot)
        chosen[k] = choose(start, cost, spend, MOST, searches=1, together=1).counts
    return chosen


def best_size(worlds: Worlds, scales: Scales, y: Array, cells: Array) -> Scenarios:
    """What a pilot's ln L (runs,) says of the best size at the target."""
    question = Question(
        gradient=worlds.gradient("size", TARGET),
        jacobian=worlds.jacobian(cells),
        sizes=sizes_of(cells),
        features=np.empty((cells.shape[1], 0)),
        answer_features=np.empty((len(worlds), 0)),
        scales=scales,
    )
    sums = Information.of(question, worlds.jacobian(PILOT), sizes_of(PILOT), np.empty((PILOT.shape[1], 0)))
    return Scenarios.of(sums, worlds, PILOT, y, cells, worlds.stencil("size", TARGET))


def study(world: World, draws: int, seed: int, spends: tuple[float, ...] = SPENDS) -> dict[str, Any]:
    """Root mean square errors of every design at every spend."""
    began = time.perf_counter()
    record: dict[str, Any] = {
        "world": str(world), "draws": draws, "seed": seed, "spends": list(spends), "ladder": list(LADDER),
        "before": {}, "errors": {name: {} for name in ("planned", *EQUAL, *LARGEST)},
    }  # fmt: skip
    for want in WANTED:
        record = again(record, world, want, draws)
    return {**record, "seconds": round(time.perf_counter() - began, 1)}


def again(record: dict[str, Any], world: World, want: Want, draws: int, alone: bool = False) -> dict[str, Any]:
    """A record with one question simulated anew, with its own number of pilots; if `alone`, the planned runs only."""
    seed = record["seed"]
    y, effects = pilots(world, draws, seed)
    theta, noise = fitted(PILOT, y, np.ones_like(y)), noise_of(y)
    empty = np.zeros((2, 0)), np.zeros((draws, 0))
    laid: dict[str, list[tuple[Array, Array] | None]] = {"before": [empty], "planned": []}
    for k, spend in enumerate(record["spends"]):
        rng = np.random.default_rng([seed, k, WANTED.index(want)])
        laid["planned"].append((grid_of(spend), planned(theta, y, want, spend, rng)))
    for name, design in ({} if alone else {**EQUAL, **LARGEST}).items():
        laid[name] = [design(theta, spend) for spend in record["ladder"]]
    errors: dict[str, list[float | None]] = {}
    inside: dict[str, list[float | None]] = {}
    for name, designs in laid.items():
        found: list[tuple[float, float] | tuple[None, None]] = []
        for k, one in enumerate(designs):
            rng = np.random.default_rng([seed, WANTED.index(want), k, *name.encode()])
            found.append((None, None) if one is None else _judged(world, y, effects, one, want, noise, rng))
        errors[name], inside[name] = [error for error, _ in found], [share for _, share in found]
    (before,) = errors.pop("before")
    merged = {**record["errors"], **{name: {**record["errors"][name], want: of} for name, of in errors.items()}}
    changed = {**record, "before": {**record["before"], want: before}, "errors": merged}
    changed["draws_of"] = {**record.get("draws_of", {}), want: draws}
    return {**changed, "inside": {**record.get("inside", {}), **inside}} if want == "loss" else changed


def _judged(
    world: World,
    y: Array,
    effects: Array,
    laid: tuple[Array, Array],
    want: Want,
    noise: Array,
    rng: np.random.Generator,
) -> tuple[float, float]:
    """Root mean square error of an answer, and for the loss the share of 95 % intervals that hold the truth."""
    if want != "loss":
        return rms(outcome(world, y, effects, *laid, rng)[:, WANTED.index(want)]), np.nan
    off, held = lowest_loss(world, seen(world, y, effects, *laid, rng), noise)
    return rms(off), float(held.mean())


def main() -> None:
    """Runs the worlds that are missing, writes the record and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="worlds whose name holds this")
    parser.add_argument("--again", choices=WANTED, help="simulate one question of recorded worlds anew, with --draws")
    parser.add_argument("--planned", action="store_true", help="with --again: what other designs erred by is kept")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("-o", "--out", type=Path, default=Path(__file__).resolve().parent)
    args = parser.parse_args()
    path, readable = args.out / "next_runs.json", args.out / "next_runs.md"
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"worlds": []}
    old = before.pop("worlds")
    same = [one for one in old if one["seed"] == args.seed and (args.again or one["draws"] == args.draws)]
    kept = {one["world"]: one for one in same}
    now = {**provenance(), "command": "python analysis/next_runs.py " + " ".join(sys.argv[1:])}
    del now["noise"]  # of coverage.py
    named = [world for world in WORLDS if args.only in str(world)]
    with ProcessPoolExecutor(args.workers) as pool:
        if args.again:
            todo = [world for world in named if str(world) in kept]
            if args.planned and any(kept[str(world)]["draws_of"][args.again] != args.draws for world in todo):
                parser.error("--planned: the other designs were judged with another number of draws")
            anew = partial(again, want=args.again, draws=args.draws, alone=args.planned)
            found = pool.map(anew, [kept[str(world)] for world in todo], todo)
            origin = {**before, f"{'only ' * args.planned}planned {args.again}": now}
        else:
            todo = [world for world in named if str(world) not in kept]
            found = pool.map(study, todo, [args.draws] * len(todo), [args.seed] * len(todo))
            origin = now
        for record in found:
            kept[record["world"]] = record
            print(table([record]), file=sys.stderr, flush=True)
            ordered = [kept[str(world)] for world in WORLDS if str(world) in kept]
            path.write_text(json.dumps(origin | {"worlds": ordered}) + "\n", encoding="utf-8")
            readable.write_text(report(ordered, origin), encoding="utf-8")
    print(table([kept[str(world)] for world in named if str(world) in kept]))


if __name__ == "__main__":
    main()
