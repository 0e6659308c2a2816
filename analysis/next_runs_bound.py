"""The most that any choice of runs and any estimate could save: certified bounds, and designs that come near them.

    python analysis/next_runs_bound.py               # minutes; then writes its part of next_runs.md anew

ln L is taken as linear about the additive surface of an exponent: its five parameters have the wide prior of the plan,
and the departures of interaction and broken, as the worlds have them, are added with unknown amplitudes (1 in the world
of that name, 0 in the others). With Gaussian amplitudes the variance of the answer given all runs depends on the design
alone, so that no choice, not even one that looks at losses, and no estimate has a lower mean square error than the best
design. It is convex in the numbers of runs, taken as real numbers, and bounded from below by its dual (c_optimal.py).
"Estimate": one run is judged by the same best estimate. "Fit": by additive least squares, bias and all.

"Three": the same variance is the least weighted mean square error over additive, interaction and broken of any design
that does not look at losses and any estimate linear in them, additive least squares among these: so much is not saved
in all three. The weights with the lowest bound count, spend by spend. "Reached": found designs of 24 whole runs at most
that do not look at losses, with the best estimate for amplitudes whose variances are chosen spend by spend; it knows
exponent, noise and the shapes of both departures, but not which is true.
"""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path
from typing import Any

import next_runs
import next_runs_tables
import numpy as np
from c_optimal import whole
from coverage import provenance
from designs import EQUAL, TARGET, Array, World
from next_runs_model import LADDER, LAYOUTS, Model

from scalelaw.plan.design.worlds import Want

BOUND = "## What nothing could save"
"""Heads what this adds to the end of next_runs.md."""
SETTINGS = [World(0.3, 0.01), World(0.3, 0.003), World(0.5, 0.003), World(0.5, 0.01), World(0.5, 0.03),
            World(0.7, 0.003), World(0.7, 0.01), World(0.5, 0.01, size_effect=0.01)]  # fmt: skip
"""Exponents and noises of the worlds of next_runs.py, and those with size effects."""
SPREADS = (0.5, 1.0, 2.0)
"""Standard deviations of Gaussian amplitudes."""
WEIGHTS = np.unique(
    [np.array(t) / sum(t) for t in itertools.product((0, 0.03, 0.1, 0.3, 1), repeat=3) if sum(t)], axis=0
)
"""Of the three worlds."""
VARIANCES = (0.01, 0.03, 0.1, 0.3, 1.0)


def needed(errors: Array, goal: float) -> float:
    """ln compute at which mean square errors (ladder,) reach, and keep, a goal; 4 times the target's if never."""
    kept = np.maximum.accumulate(np.where(np.isfinite(errors), errors, 1e9)[::-1])[::-1]
    return float(np.interp(-np.log(goal), -np.log(kept), np.log(LADDER)))


def on_average(model: Model, spread: float, most: int | None) -> list[list[float]]:
    """ln of the most that can be saved against one run over Gaussian amplitudes: (estimate, fit) by spends."""
    variances = np.full(2, spread**2)
    goals = [model.bound(variances, spend, most) for spend in next_runs.SPENDS]
    found = []
    for known in (model.known(variances), None):
        noise, bias = model.curves("one run", known)
        errors = noise + bias**2 @ model.prior(variances)
        found.append(
            [needed(errors, goal) - np.log(spend) for goal, spend in zip(goals, next_runs.SPENDS, strict=True)]
        )
    return found


def at_once(model: Model, most: int | None, curves: list[Array]) -> Array:
    """(len(curves), spends) ln of the most in all three worlds against least errors (ladder, 3) of other designs."""
    found = np.full((len(curves), len(next_runs.SPENDS)), np.inf)
    for k, spend in enumerate(next_runs.SPENDS):
        for weights in WEIGHTS:
            goal = model.bound(weights[1:], spend, most)
            for j, errors in enumerate(curves):
                found[j, k] = min(found[j, k], needed(np.minimum(errors, 1e9) @ weights, goal) - np.log(spend))
    return found


def chosen(model: Model, fit: dict[str, Array], spend: float) -> tuple[Array, Array, Array]:
    """Variances of the amplitudes, counts (cells,) and ln saved (3, designs) of the found design.

    That of the highest lowest saving against the mean square errors (ladder, 3) of other designs in the three worlds.
    """
    cells, best = next_runs.grid_of(spend), (-np.inf, np.empty(0), np.empty(0), np.empty(0))
    rows, cost = model.rows(cells), np.exp(cells.sum(axis=0) - TARGET)
    for pair in itertools.product(VARIANCES, repeat=2):
        variances = np.array(pair)
        known = model.known(variances)
        counts = whole(model.c, known, rows, cost, spend, next_runs.MOST)
        own = model.in_worlds(*model.error(rows[counts > 0], counts[counts > 0], known))
        saved = _saved(fit, own, spend)
        if saved.min() > best[0]:
            best = float(saved.min()), variances, counts, saved
    return best[1:]


def reached(model: Model, names: list[str]) -> tuple[Array, Array]:
    """(3, names) ln of what the found designs save in each world, mean over spends, and so for the same estimate."""
    fit = {name: model.in_worlds(*model.curves(name, None)) for name in names}
    found = []
    for spend in next_runs.SPENDS:
        variances, counts, saved = chosen(model, fit, spend)
        known, rows = model.known(variances), model.rows(next_runs.grid_of(spend))
        own = model.in_worlds(*model.error(rows[counts > 0], counts[counts > 0], known))
        same = {name: model.in_worlds(*model.curves(name, known)) for name in names}
        found.append((saved, _saved(same, own, spend)))
    of_fit, of_estimate = np.mean(found, axis=0)
    return of_fit, of_estimate


def _saved(others: dict[str, Array], own: Array, spend: float) -> Array:
    """(3, names) ln."""
    columns = [[needed(errors[:, k], own[k]) for k in range(3)] for errors in others.values()]
    return np.array(columns).T - np.log(spend)


def _kept(errors: Array) -> Array:
    """The largest from each point of the ladder on."""
    return np.asarray(np.maximum.accumulate(errors[::-1])[::-1])


def study(world: World, want: Want = "loss") -> dict[str, Any]:
    """Bounds with any number of runs and with as many as the planned ones may be, and what was reached."""
    model, one = Model(world, want), "one run"
    names = [*LAYOUTS] if want == "loss" else [*EQUAL]
    kept = {name: _kept(model.in_worlds(*model.curves(name, None))) for name in names}
    against = {"every": np.min([*kept.values()], axis=0)} | ({one: kept[one]} if one in kept else {})
    record: dict[str, Any] = {"world": str(world), "asked": want, "bounds": {}, "reached": {}}
    for most in (None, next_runs.MOST):
        bounds = {f"three, {name}": row for name, row in
                  zip(against, at_once(model, most, [*against.values()]), strict=True)}  # fmt: skip
        if one in kept:
            for spread in SPREADS:
                estimate, fit = on_average(model, spread, most)
                bounds |= {f"estimate, {spread:g}": np.array(estimate), f"fit, {spread:g}": np.array(fit)}
        record["bounds"][str(most or "any")] = {key: np.exp(row).round(3).tolist() for key, row in bounds.items()}
    for name in against:
        found = reached(model, names if name == "every" else [name])
        record["reached"][name] = {key: np.exp(part).min(axis=1).round(3).tolist()
                                   for key, part in zip(("fit", "estimate"), found, strict=True)}  # fmt: skip
    return record


def _cell(values: list[float]) -> str:
    """Geometric mean and lowest."""
    texts = [f"{value:.2f}" if value >= next_runs_tables.ENOUGH else f"**{value:.2f}**"
             for value in (float(np.exp(np.log(values).mean())), min(values))]  # fmt: skip
    return f"{texts[0]} ({texts[1]})"


def table(records: list[dict[str, Any]]) -> str:
    """Markdown for next_runs.md."""
    about = [part.strip() for part in (__doc__ or "").split("\n\n")[2:]]
    kinds = [f"{judge}, {spread:g}" for judge in ("estimate", "fit") for spread in SPREADS]
    heads = ["world", "runs", *kinds, "three, one run", "three, every"]
    bounds = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    columns = ["world", "against", "additive", "interaction", "broken", "with that estimate"]
    found = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    for record in records:
        name = record["world"].removeprefix("additive, ") + (f" ({record['asked']})" * (record["asked"] != "loss"))
        for most, of in record["bounds"].items():
            cells = [_cell(of[key]) if key in of else "" for key in heads[2:]]
            bounds.append("| " + " | ".join([name, most, *cells]) + " |")
        for other, of in record["reached"].items():
            texts = [f"{v:.2f}" if v >= next_runs_tables.ENOUGH else f"**{v:.2f}**" for v in of["fit"]]
            same = ", ".join(f"{v:.2f}" for v in of["estimate"])
            found.append("| " + " | ".join([name, other, *texts, same]) + " |")
    return "\n".join([BOUND, "", "\n\n".join(about), "", HOW_TO_READ, "", *bounds, "", REACHED, "", *found]) + "\n"


HOW_TO_READ = f"""\
Saved: the compute at which the other design reaches, and keeps, an error, over the spend; where it does not with 4
times the target's compute, that counts. Geometric mean over the five spends, the lowest of them in brackets. Numbers
behind "estimate" and "fit": standard deviation of the amplitudes; against one run. "Every": against the best of the six
other designs in each world and at each compute, fitted additively. Size: against the four equal layouts. Bold: below
{next_runs_tables.ENOUGH}: no choice could save that much on average over such worlds, or in all three at that spend."""

REACHED = """\
Reached: against the hardest of the designs named, which are fitted additively; geometric mean over the spends. Last
column: in the three worlds, with the best estimate for the other designs too."""


def main() -> None:
    """Computes all, writes it and its part of next_runs.md."""
    here = Path(__file__).resolve().parent
    records = [study(world) for world in SETTINGS]
    records.append(study(World(0.3, 0.003), "size"))
    origin = {**provenance(), "command": "python analysis/next_runs_bound.py"}
    (here / "next_runs_bound.json").write_text(json.dumps(origin | {"worlds": records}) + "\n", encoding="utf-8")
    readable = here / "next_runs.md"
    before, _, _ = readable.read_text(encoding="utf-8").partition(BOUND)
    readable.write_text(f"{before.rstrip()}\n\n{table(records)}", encoding="utf-8")
    print(table(records), file=sys.stdout)


if __name__ == "__main__":
    main()
