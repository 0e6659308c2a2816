"""The most that any choice of runs could save for the loss, by a chooser that knows what nobody does.

    python analysis/next_runs_oracle.py              # a minute; then rewrites next_runs.md with it

For each world of next_runs.py two oracles spend what the planned runs spend, on the same grid and with as many runs at
most. The first knows the truth: parameters, noise and the very error of the fitted form. The second knows as much but
for one thing: which of three surfaces it is, additive, with interaction or broken, of this exponent and noise, whose
pilot sweeps hardly differ; its one design has the lowest largest error of the three, each over that of one run.

The error is that of least squares on pilot and design, linear in the form's error, about the fit to the pilot without
noise: squared bias and variance. Designs are searched from many beginnings, so that a better one may exist. Ratios are
those of next_runs.py, with the oracle in the place of the planned runs and the same linear errors for the others.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import next_runs
import next_runs_tables
import numpy as np
from coverage import provenance
from designs import EQUAL, LARGEST, PILOT, SIZES, TARGET, WORLDS, Array, World, fitted, sizes_of

from scalelaw.plan.design.information import PRIOR
from scalelaw.plan.design.worlds import Worlds

POWERS = (0.0, 0.25, 0.5, 1.0)
"""A filling buys what helps most over its cost to such a power."""
LIDS = (1.0, 0.5, 0.25, 0.125)
"""Shares of the spend that the dearest run of a filling may cost."""
SEARCHES = 4
SHARP = 10.0
"""The largest of several logarithms is taken as the logarithm of their mean after this power."""
KINDS = ("additive", "interaction", "broken")
Score = Callable[[Array], Any]
"""From logarithms of errors (truths, ...) to what should be low (...)."""


@dataclass(frozen=True)
class Truth:
    """One world about the fit to its pilot without noise.

    Attributes:
        world: the truth.
        law: that fit.
        theta: (1, 5) the same as `fitted` gives it.
        shift: by how much the true lowest ln loss at the target is above the fit's.
    """

    world: World
    law: Worlds
    theta: Array
    shift: float

    @classmethod
    def of(cls, world: World) -> Truth:
        y = world.log_loss(PILOT)[None]
        theta = fitted(PILOT, y, np.ones_like(y))
        centre = float(PILOT[0].mean()), float(PILOT[1].mean())
        own = theta.copy()
        own[:, 1:3] -= own[:, 3:] * centre
        law = Worlds(own, centre)
        return cls(world, law, theta, world.answers()["loss"] - float(law.answer("loss", TARGET)[0]))

    def at(self, x: Array) -> tuple[Array, Array]:
        """(points, 5) Jacobian and (points,) error of the form in ln L at points (2, points)."""
        return self.law.jacobian(x)[0], self.world.log_loss(x) - self.law.log_loss(x)[0]


@dataclass(frozen=True)
class Sums:
    """What least squares needs of some runs, a row a truth: J'J with the plan's wide prior, J' times the form's error,
    and sums of J over the runs of each size."""

    gram: Array
    bent: Array
    by_size: Array

    def plus(self, more: Sums) -> Sums:
        return Sums(self.gram + more.gram, self.bent + more.bent, self.by_size + more.by_size)

    def times(self, count: float) -> Sums:
        return Sums(count * self.gram, count * self.bent, count * self.by_size)


def sums(truths: list[Truth], x: Array) -> Sums:
    """Of each point (2, points) alone: (truths, points, ...)."""
    of = [truth.at(x) for truth in truths]
    J, bent = np.stack([one[0] for one in of]), np.stack([one[1] for one in of])
    sized = np.zeros((*J.shape[:2], len(SIZES), 5))
    sized[:, np.arange(x.shape[1]), sizes_of(x)] = J
    return Sums(J[..., :, None] * J[..., None, :], bent[..., None] * J, sized)


def total(of: Sums, counts: Array) -> Sums:
    """Of counts (points,) of runs."""
    return Sums(*(np.einsum("k,tk...->t...", counts, part) for part in (of.gram, of.bent, of.by_size)))


def pilot_of(truths: list[Truth]) -> Sums:
    """Of the pilot and the prior."""
    found = total(sums(truths, PILOT), np.ones(PILOT.shape[1]))
    held = np.array([truth.world.noise**2 for truth in truths])[:, None, None] * np.diag(PRIOR**-2)
    return replace(found, gram=found.gram + held)


def errors(truths: list[Truth], of: Sums) -> Array:
    """(truths, ...) root mean square error of ln lowest loss."""
    more = of.gram.ndim - 3
    gradient, noise, effect, shift = (
        np.stack(column).reshape(len(truths), *[1] * more, *np.shape(column[0]))
        for column in zip(
            *((t.law.gradient("loss", TARGET)[0], t.world.noise, t.world.size_effect, t.shift) for t in truths),
            strict=True,
        )
    )
    v = np.linalg.solve(of.gram, np.broadcast_to(gradient, of.bent.shape)[..., None])[..., 0]
    square = noise**2 * np.einsum("...p,...pq,...q->...", v, of.gram, v)
    square = square + effect**2 * (np.einsum("...sp,...p->...s", of.by_size, v) ** 2).sum(axis=-1)
    return np.asarray(np.sqrt(square + ((of.bent * v).sum(axis=-1) - shift) ** 2))


def largest(goal: Array) -> Score:
    """The largest error over the goal (truths,), smoothly."""

    def score(logs: Array) -> Any:
        over = logs - np.log(goal).reshape(-1, *[1] * (logs.ndim - 1))
        return np.log(np.exp(SHARP * over).mean(axis=0)) / SHARP

    return score


def best(truths: list[Truth], spend: float, score_of: Score) -> Array:
    """(truths,) errors of the best design found: that of the lowest score."""
    cells = next_runs.grid_of(spend)
    cost, single = np.exp(cells.sum(axis=0) - TARGET), sums(truths, cells)
    start = pilot_of(truths)

    def score(of: Sums) -> Any:
        return score_of(np.log(errors(truths, of)))

    def filled(counts: Array, power: float, lid: float = 1.0, barred: int | None = None) -> tuple[float, Array]:
        counts, state = counts.copy(), start.plus(total(single, counts))
        now = float(score(state))
        while counts.sum() < next_runs.MOST:
            able = (cost <= (spend - counts @ cost) * (1 + 1e-9) + 1e-12) & (cost <= lid * spend * (1 + 1e-9))
            if barred is not None:
                able[barred] = False
            at = np.flatnonzero(able)
            if not len(at):
                break
            parts = (state.gram[:, None] + single.gram[:, at], state.bent[:, None] + single.bent[:, at],
                     state.by_size[:, None] + single.by_size[:, at])  # fmt: skip
            then = score(Sums(*parts))
            gain = np.where(now - then > 1e-3, (now - then) / cost[at] ** power, 0.0)
            if not gain.any():
                break
            chosen = int(np.argmax(gain))
            counts[at[chosen]] += 1
            state, now = Sums(*(part[:, chosen] for part in parts)), float(then[chosen])
        return now, counts

    found = sorted((filled(np.zeros(len(cost)), p, lid) for p in POWERS for lid in LIDS), key=lambda one: one[0])
    found = [_exchanged(one, filled) for one in found[:SEARCHES]]
    return errors(truths, start.plus(total(single, min(found, key=lambda one: one[0])[1])))


def _exchanged(one: tuple[float, Array], filled: Any) -> tuple[float, Array]:
    """Takes runs of a cell out and fills the room anew, as long as that helps."""
    now, counts = one
    for _ in range(4):
        before = now
        for cell in np.flatnonzero(counts):
            for gone in sorted({1, int(counts[cell])}):
                if counts[cell] < gone:
                    continue
                fewer = counts.copy()
                fewer[cell] -= gone
                for power in POWERS:
                    then, other = filled(fewer, power, barred=int(cell))
                    if then < now - 1e-4:
                        now, counts = then, other
                        break
        if now > before - 1e-3:
            break
    return now, counts


def laid(truth: Truth, name: str, spend: float) -> float | None:
    """Error of another design, about the optimum of the truth's own fit."""
    found = {**EQUAL, **LARGEST}[name](truth.theta, spend)
    if found is None:
        return None
    of = pilot_of([truth]).plus(total(sums([truth], found[0]), found[1][0]))
    return float(errors([truth], of)[0])


def study(world: World) -> dict[str, Any]:
    """Ratios of every other design for both oracles."""
    three = [Truth.of(replace(world, kind=kind)) for kind in KINDS]
    mine = KINDS.index(world.kind)
    planned: dict[str, list[float]] = {"knows all": [], "knows not which": []}
    for spend in next_runs.SPENDS:
        goal = np.array([laid(truth, "one run", spend) for truth in three])
        planned["knows all"].append(float(best([three[mine]], spend, largest(goal[[mine]]))[0]))
        planned["knows not which"].append(float(best(three, spend, largest(goal))[mine]))
    others = {name: [laid(three[mine], name, spend) for spend in next_runs.LADDER] for name in (*EQUAL, *LARGEST)}
    bent = [float(np.sqrt(np.mean(truth.at(PILOT)[1] ** 2))) / world.noise for truth in three]
    ratios = {}
    for oracle, own in planned.items():
        errors_of = {"planned": {"loss": own}, **{name: {"loss": column} for name, column in others.items()}}
        record = {"spends": next_runs.SPENDS, "ladder": next_runs.LADDER, "errors": errors_of}
        ratios[oracle] = {name: round(next_runs_tables.ratio(record, name, "loss")[0], 2) for name in others}
    one = [laid(three[mine], "one run", spend) or np.nan for spend in next_runs.SPENDS]
    shares = {oracle: np.round(np.divide(own, one), 2).tolist() for oracle, own in planned.items()}
    return {"world": str(world), "ratios": ratios, "errors over one run's": shares, "unseen": round(max(bent), 2)}


def table(records: list[dict[str, Any]]) -> str:
    """Markdown for the end of next_runs.md."""
    heads = ["world", "form's error in the pilot", "knows", "equal compute", *LARGEST, "error over one run's"]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for record in records:
        for oracle, ratios in record["ratios"].items():
            numbers = min(ratios[name] for name in EQUAL), *(ratios[name] for name in LARGEST)
            texts = [f"{value:.2f}" if value >= next_runs_tables.ENOUGH else f"**{value:.2f}**" for value in numbers]
            texts.append(", ".join(f"{share:.2f}" for share in record["errors over one run's"][oracle]))
            row = [record["world"], f"{record['unseen']:.2f}", oracle.removeprefix("knows "), *texts]
            lines.append("| " + " | ".join(row) + " |")
    known = [record["ratios"]["knows not which"] for record in records]
    met = " and in ".join(
        f"{sum(ratios[name] >= next_runs_tables.ENOUGH for ratios in known)} against {name}" for name in LARGEST
    )
    about = (__doc__ or "").split("\n\n")[2:4]
    return (
        f"""
{next_runs_tables.ORACLES}

{about[0]}

{about[1].strip()}

Form's error in the pilot: the largest of the three, root mean square over noise: by so little the pilots differ. Equal
compute: the lowest of the four layouts. Bold: below {next_runs_tables.ENOUGH}. Last column: at the five spends. Of
{len(records)} worlds the oracle that knows not which saves {next_runs_tables.ENOUGH} or more in {met}.

"""
        + "\n".join(lines)
        + "\n"
    )


def main() -> None:
    """Computes both oracles for every world, writes them and the table."""
    here = Path(__file__).resolve().parent
    records = [study(world) for world in WORLDS]
    origin = {**provenance(), "command": "python analysis/next_runs_oracle.py"}
    (here / "next_runs_oracle.json").write_text(json.dumps(origin | {"worlds": records}) + "\n", encoding="utf-8")
    kept = json.loads((here / "next_runs.json").read_text(encoding="utf-8"))
    _, head, after = (here / "next_runs.md").read_text(encoding="utf-8").partition(next_runs_tables.AT_ONCE)
    text = next_runs_tables.report(kept.pop("worlds"), kept) + table(records) + (f"\n{head}{after}" if head else "")
    (here / "next_runs.md").write_text(text, encoding="utf-8")
    print(table(records), file=sys.stdout)


if __name__ == "__main__":
    main()
