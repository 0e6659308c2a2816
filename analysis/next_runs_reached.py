"""Whether what next_runs_bound.py says can be reached is reached by simulated fits, in the worlds of next_runs.py.

    python analysis/next_runs_reached.py             # a few minutes; writes next_runs_reached.json and .md

Exponent, noise and the shapes of both departures are known, the parameters and which world it is are not. The runs are
those with the highest lowest saving against one run in additive, interaction and broken, the same for all three and
whatever the pilot says. The estimate is the most probable law: five parameters and two amplitudes, with the prior that
the design was chosen for. Pilots, and the other designs' errors, which are fitted additively, are those that
next_runs.json records; so are ratios.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import next_runs
import next_runs_tables
import numpy as np
from coverage import provenance
from designs import EQUAL, LARGEST, PILOT, TARGET, WORLDS, Array, World, pilots, rms, sizes_of
from next_runs_bound import chosen
from next_runs_model import Model

from scalelaw.plan.design.worlds import Worlds

STEPS = 60
FARTHEST = 0.3
"""The most that a step may change any unknown."""
LOWEST, HIGHEST = 0.02, 2.0
"""Exponents are held between these."""


def estimated(model: Model, x: Array, y: Array, counts: Array, prior: Array) -> Array:
    """(draws,) ln of the lowest loss at the target from y (draws, points), means of counts (points,) runs.

    Gauss-Newton steps from the truth's own parameters; `prior` (unknowns,) variances about them.
    """
    law, noise = model.base.law, model.world.noise
    rest = np.broadcast_to(model.rows(x)[:, 5:] * noise, (len(y), x.shape[1], len(prior) - 5))
    theta, others = np.repeat(law.theta, len(y), axis=0), np.zeros((len(y), len(prior) - 5))
    for _ in range(STEPS):
        now = Worlds(theta, law.centre)
        off = (y - now.log_loss(x) - np.einsum("dpk,dk->dp", rest, others)) / noise
        J = np.concatenate([now.jacobian(x), rest], axis=2) / noise
        gram = np.swapaxes(J * counts[:, None], 1, 2) @ J + np.diag(1 / prior)
        slope = np.einsum("dpk,p,dp->dk", J, counts, off)
        slope = slope - np.concatenate([theta - law.theta, others], axis=1) / prior
        step = np.linalg.solve(gram, slope[..., None])[..., 0]
        step *= np.minimum(1, FARTHEST / np.maximum(abs(step).max(axis=1, keepdims=True), 1e-300))
        theta, others = theta + step[:, :5], others + step[:, 5:]
        theta[:, 3:] = np.clip(theta[:, 3:], LOWEST, HIGHEST)
        if abs(step).max() < 1e-8:
            break
    return np.asarray(Worlds(theta, law.centre).answer("loss", TARGET) + others @ model.c[5:])


def errors(world: World, draws: int, seed: int) -> list[float]:
    """Root mean square errors of ln lowest loss at every spend."""
    model = Model(World(world.exponent, world.noise, size_effect=world.size_effect))
    fit = {"one run": model.in_worlds(*model.curves("one run", None))}
    y, effects = pilots(world, draws, seed)
    found = []
    for k, spend in enumerate(next_runs.SPENDS):
        variances, counts, _ = chosen(model, fit, spend)
        points, counts = next_runs.grid_of(spend)[:, counts > 0], counts[counts > 0]
        rng = np.random.default_rng([seed, 1000 + k])
        new = world.log_loss(points) + effects[:, sizes_of(points)]
        new = new + world.noise * rng.standard_normal(new.shape) / np.sqrt(counts)
        x, weights = np.concatenate([PILOT, points], axis=1), np.r_[np.ones(PILOT.shape[1]), counts]
        said = estimated(model, x, np.concatenate([y, new], axis=1), weights, model.prior(variances))
        found.append(rms(said - world.answers()["loss"]))
    return found


def table(records: list[dict[str, Any]]) -> str:
    """Markdown: errors, and ratios against every other design."""
    names = [*EQUAL, *LARGEST]
    heads = ["world", *(f"at {spend:.2g}" for spend in next_runs.SPENDS), *names]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for record in records:
        ratios = [record["ratios"][name] for name in names]
        texts = [f"{value:.2f}" if value >= next_runs_tables.ENOUGH else f"**{value:.2f}**" for value in ratios]
        lines.append("| " + " | ".join([record["world"], *(f"{e:.3g}" for e in record["errors"]), *texts]) + " |")
    about = (__doc__ or "").split("\n\n")
    return "\n".join(["# What can be reached", "", about[2].strip(), "", *lines]) + "\n"


def main() -> None:
    """Simulates the recorded worlds anew with these runs and this estimate."""
    here = Path(__file__).resolve().parent
    recorded = json.loads((here / "next_runs.json").read_text(encoding="utf-8"))["worlds"]
    records = []
    for world, record in zip(WORLDS, recorded, strict=True):
        own = errors(world, record["draws"], record["seed"])
        other = {**record, "errors": {**record["errors"], "planned": {"loss": own}}}
        ratios = {name: next_runs_tables.ratio(other, name, "loss")[0] for name in (*EQUAL, *LARGEST)}
        records.append({"world": str(world), "errors": own, "ratios": ratios})
        print(records[-1], file=sys.stderr, flush=True)
    origin = {**provenance(), "command": "python analysis/next_runs_reached.py"}
    (here / "next_runs_reached.json").write_text(json.dumps(origin | {"worlds": records}) + "\n", encoding="utf-8")
    (here / "next_runs_reached.md").write_text(table(records), encoding="utf-8")
    print(table(records))


if __name__ == "__main__":
    main()
