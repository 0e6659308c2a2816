"""How much compute `scalelaw plan` saves over other ways to spend it, by simulation.

    python analysis/next_runs.py                     # 100 draws a world
    python analysis/next_runs.py --only broken --draws 40
    python analysis/next_runs.py --draws 60 --again loss   # of recorded worlds, only the planned runs for the loss

A pilot sweep (5 sizes x 5 lengths, three cells of three seeds) is drawn from a known world; the target lies at 64 times
its dearest run. Each design spends a share of the target's compute; the surface is then fitted to all runs, and its
answer at the target (best size, lowest loss, exponent) compared with the true one. The ratio of a design is the compute
at which it reaches the error of the planned runs, over theirs. Designs are laid out around the optimum of each draw's
own pilot fit, as the planned runs are. Some worlds have another form than the one fitted.

Writes next_runs.json (worlds already there with as many draws and the same seed are kept) and next_runs.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from concurrent.futures import ProcessPoolExecutor
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
    answers,
    fitted,
    log_loss_of,
    outcome,
    pilots,
    rms,
    sizes_of,
)  # fmt: skip

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
DRAWN = 12
"""Surfaces that a choice is averaged over."""
ENOUGH = 1.3
ORACLES = "## What could be saved for the loss"
"""Heads what next_runs_oracle.py adds to next_runs.md."""
AT_ONCE = "## Every form at once"
"""Heads what next_runs_at_once.py adds after that."""


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
        scales, _ = drawn(len(mine), worlds.jacobian(PILOT)[0], y[k] - fit[k], sizes_of(PILOT), SETTINGS, of_pilot)
        cost = np.exp(cells.sum(axis=0) - TARGET)
        if want != "exponent":
            if want == "loss":
                cost = np.where(cells[0] < PILOT[0].min() - 1e-9, np.inf, cost)  # as purchases.py has it
            started = under_forms(worlds, scales, y[k], cells, want)
            chosen[k] = choose(started, cost, spend, MOST, searches=1, together=1, wide=want == "loss").counts
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


def under_forms(worlds: Worlds, scales: Scales, y: Array, cells: Array, want: Want) -> Scenarios:
    """What a pilot's ln L (runs,) says of the best size or the loss at the target."""
    question = Question(
        gradient=worlds.gradient(want, TARGET),
        jacobian=worlds.jacobian(cells),
        sizes=sizes_of(cells),
        features=np.empty((cells.shape[1], 0)),
        answer_features=np.empty((len(worlds), 0)),
        scales=scales,
    )
    sums = Information.of(question, worlds.jacobian(PILOT), sizes_of(PILOT), np.empty((PILOT.shape[1], 0)))
    return Scenarios.of(sums, worlds, PILOT, y, cells, worlds.stencil(want, TARGET))


def study(world: World, draws: int, seed: int, spends: tuple[float, ...] = SPENDS) -> dict[str, Any]:
    """Root mean square errors of every design at every spend."""
    began = time.perf_counter()
    y, effects = pilots(world, draws, seed)
    theta = fitted(PILOT, y, np.ones_like(y))
    true, found = world.answers(), answers(theta)
    before = {want: rms(found[want] - true[want]) for want in WANTED}
    errors: dict[str, dict[str, list[float | None]]] = {"planned": {}}
    for want in WANTED:
        errors["planned"][want] = [*of_planned(world, y, effects, theta, want, seed, spends)]
    for name, design in {**EQUAL, **LARGEST}.items():
        errors[name] = {want: [] for want in WANTED}
        for k, spend in enumerate(LADDER):
            laid = design(theta, spend)
            off = None if laid is None else outcome(world, y, effects, *laid, np.random.default_rng([seed, 100 + k]))
            for j, want in enumerate(WANTED):
                errors[name][want].append(None if off is None else rms(off[:, j]))
    return {
        "world": str(world), "draws": draws, "seed": seed, "spends": list(spends), "ladder": list(LADDER),
        "before": before, "errors": errors, "seconds": round(time.perf_counter() - began, 1),
    }  # fmt: skip


def of_planned(
    world: World, y: Array, effects: Array, theta: Array, want: Want, seed: int, spends: tuple[float, ...]
) -> list[float]:
    """Root mean square errors of the planned runs at every spend."""
    errors = []
    for k, spend in enumerate(spends):
        rng = np.random.default_rng([seed, k, WANTED.index(want)])
        chosen = planned(theta, y, want, spend, rng)
        errors.append(rms(outcome(world, y, effects, grid_of(spend), chosen, rng)[:, WANTED.index(want)]))
    return errors


def again(record: dict[str, Any], world: World, want: Want) -> dict[str, Any]:
    """A record with the planned runs of one question simulated anew, from the same pilots."""
    y, effects = pilots(world, record["draws"], record["seed"])
    theta = fitted(PILOT, y, np.ones_like(y))
    errors = of_planned(world, y, effects, theta, want, record["seed"], tuple(record["spends"]))
    planned_runs = {**record["errors"]["planned"], want: errors}
    return {**record, "errors": {**record["errors"], "planned": planned_runs}}


def ratio(record: dict[str, Any], name: str, want: Want) -> tuple[float, bool]:
    """Compute that a design needs over that of the planned runs for equal error, and whether it is a lower bound.

    The planned runs' errors are a straight line in logs, the design's a parabola. Where an error rises with compute
    again, as that of a wrong form may, its largest value from there on counts: an error that is reached and kept. The
    geometric mean over the spends, with 4 times the target's compute taken where the design has not got there.
    """
    spends = np.log(record["spends"])
    line = np.polyval(np.polyfit(spends, np.log(record["errors"]["planned"][want]), 1), spends)
    pairs = zip(record["ladder"], record["errors"][name][want], strict=True)
    known = np.log([(spend, error) for spend, error in pairs if error is not None])
    dense = np.linspace(known[0, 0], known[-1, 0], 2001)
    curve = _kept(np.polyval(np.polyfit(known[:, 0], known[:, 1], 2), dense))
    reached = [dense[np.argmax(curve <= goal)] if curve[-1] <= goal else np.inf for goal in _kept(line)]
    bound = bool(np.isinf(reached).any())
    return float(np.exp(np.mean(np.minimum(reached, dense[-1]) - spends))), bound


def _kept(curve: Array) -> Array:
    """The largest value from each point on."""
    return np.asarray(np.maximum.accumulate(curve[::-1])[::-1])


def lower(record: dict[str, Any], name: str, want: Want) -> list[float]:
    """Errors of a design over those of the planned runs at each spend that both have."""
    by_spend = dict(zip(record["ladder"], record["errors"][name][want], strict=True))
    pairs = zip(record["spends"], record["errors"]["planned"][want], strict=True)
    found = [(by_spend.get(spend), error) for spend, error in pairs]
    return [other / error for other, error in found if other is not None]


def table(records: list[dict[str, Any]]) -> str:
    """Markdown: errors of the planned runs, and the ratios of the other designs."""
    names = [*EQUAL, *LARGEST]
    heads = ["world", "asked", "error before", *(f"at {s:.2g}" for s in records[0]["spends"]), *names]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for record in records:
        for want in WANTED:
            row = [record["world"], want, f"{record['before'][want]:.3g}"]
            row += [f"{error:.3g}" for error in record["errors"]["planned"][want]]
            for name in names:
                value, bound = ratio(record, name, want)
                text = f"{'> ' if bound else ''}{value:.1f}"
                row.append(text if value >= ENOUGH else f"**{text}**")
            lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)


def report(records: list[dict[str, Any]], origin: dict[str, Any]) -> str:
    """The table with what it needs to be read and repeated."""
    lines = []
    for want in WANTED:
        for group, names in (("equal compute", list(EQUAL)), ("the largest", list(LARGEST))):
            of = [ratio(record, name, want)[0] for record in records for name in names]
            shares = [share for record in records for name in names for share in lower(record, name, want)]
            met, fewer = (
                f"{sum(value >= limit for value in v)} of {len(v)}" for v, limit in ((of, ENOUGH), (shares, 1))
            )
            row = [want, group, met, f"{np.median(of):.1f}", f"{min(of):.2f}", fewer, f"{np.median(shares):.2f}"]
            lines.append("| " + " | ".join(row) + " |")
    summary = "\n".join(lines)
    draws = ", ".join(str(count) for count in sorted({record["draws"] for record in records}))
    parts = [(want, origin[f"planned {want}"]) for want in WANTED if f"planned {want}" in origin]
    anew = "".join(f"Planned runs for the {want}: `{o['command']}` at {o['commit']}.\n" for want, o in parts)
    return f"""# Compute that planned runs save

`{origin["command"]}` at {origin["commit"]}; {origin["machine"]}.
{anew}{draws} draws a world, seed {records[0]["seed"]}.

Ratio: compute at which a design reaches, and keeps, the error (root mean square, of ln best size, ln lowest loss,
exponent) of the planned runs, over theirs; geometric mean over five spends. `>`: not reached with 4 times the target's
compute at some spend, which then counts as 4. Bold: below {ENOUGH}. Errors at equal spend are those of the other design
over those of the planned runs.

| asked | against | {ENOUGH} or more | median | lowest | planned error lower at equal spend | median ratio of errors |
|---|---|---|---|---|---|---|
{summary}

Errors of the planned runs are given at shares of the target's compute.

{table(records)}
"""


def main() -> None:
    """Runs the worlds that are missing, writes the record and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="worlds whose name holds this")
    parser.add_argument("--again", choices=WANTED, help="simulate only the planned runs of a question anew")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("-o", "--out", type=Path, default=Path(__file__).resolve().parent)
    args = parser.parse_args()
    path, readable = args.out / "next_runs.json", args.out / "next_runs.md"
    added = readable.read_text(encoding="utf-8").partition(ORACLES) if readable.exists() else ("", "", "")
    oracles = f"\n{added[1]}{added[2]}" if added[1] else ""
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"worlds": []}
    old = before.pop("worlds")
    kept = {one["world"]: one for one in old if (one["draws"], one["seed"]) == (args.draws, args.seed)}
    now = {**provenance(), "command": "python analysis/next_runs.py " + " ".join(sys.argv[1:])}
    del now["noise"]  # of coverage.py
    named = [world for world in WORLDS if args.only in str(world)]
    with ProcessPoolExecutor(args.workers) as pool:
        if args.again:
            todo = [world for world in named if str(world) in kept]
            found = pool.map(again, [kept[str(world)] for world in todo], todo, [args.again] * len(todo))
            origin = {**before, f"planned {args.again}": now}
        else:
            todo = [world for world in named if str(world) not in kept]
            found = pool.map(study, todo, [args.draws] * len(todo), [args.seed] * len(todo))
            origin = now
        for record in found:
            kept[record["world"]] = record
            print(table([record]), file=sys.stderr, flush=True)
            ordered = [kept[str(world)] for world in WORLDS if str(world) in kept]
            path.write_text(json.dumps(origin | {"worlds": ordered}) + "\n", encoding="utf-8")
            readable.write_text(report(ordered, origin) + oracles, encoding="utf-8")
    print(table([kept[str(world)] for world in named if str(world) in kept]))


if __name__ == "__main__":
    main()
