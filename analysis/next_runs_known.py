"""What could be saved for the loss by a chooser who knows the truth, beside what planned runs save.

    python analysis/next_runs_known.py     # minutes; then rewrites next_runs.md with it

For each world of next_runs.py runs are chosen that cost what the planned ones may, on the same grid, as many at most.
The chooser knows the truth: parameters, noise, effects of size, and which departure from the fitted form there is. Only
the estimate is that of the others, the mean over forms. Chosen is by the expected error at the truth, as the plan
expects it under that form.

The design is judged on other pilots than the record's, and every other design on these too. Its ratios are what a plan
could come to that knew; a search that finds a better design would raise them.
"""

from __future__ import annotations

import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from coverage import provenance
from designs import (
    EQUAL,
    FLOOR,
    LARGEST,
    LOSS,
    MIDDLE,
    PILOT,
    TARGET,
    TOTAL,
    WORLDS,
    Array,
    World,
    fitted,
    lowest_loss,
    noise_of,
    pilots,
    rms,
    seen,
    sizes_of,
)  # fmt: skip
from next_runs import LADDER, MOST_OF_LOSS, SPENDS, grid_of
from next_runs_tables import ENOUGH, KNOWN, ratio, report

from scalelaw.plan.design.estimated import FORMS, Estimated, Ground
from scalelaw.plan.design.exchange import Counts, choose
from scalelaw.plan.design.information import Scales
from scalelaw.plan.design.worlds import Worlds

JUDGED, SEED = 400, 1
"""Pilots on which designs are judged."""
FORM = {"additive": 0, "interaction": 1, "broken": FORMS - 2}
"""Of `design.forms.departures`: none, the interaction, and the break of size at the largest of the pilot's."""


def surface(world: World) -> Worlds:
    """The truth without its departure from the fitted form."""
    alpha, beta = TOTAL * (1 - world.exponent), TOTAL * world.exponent
    A, B = (LOSS - FLOOR) * beta / TOTAL, (LOSS - FLOOR) * alpha / TOTAL
    theta = np.array([[np.log(FLOOR), np.log(A), np.log(B), alpha, beta]])
    return Worlds(theta, (float(MIDDLE[0]), float(MIDDLE[1])))


@dataclass(frozen=True, eq=False)
class Known:
    """Squared error under one form, for `exchange.choose`.

    Attributes:
        told: what the runs say, in the one world there is.
        form: the truth's.
    """

    told: Estimated
    form: int

    @classmethod
    def of(cls, world: World, cells: Array) -> Self:
        """Before any run but the pilot's; the departure is as large as at the target's best size."""
        law, one, form = surface(world), np.ones(1), FORM[world.kind]
        scales = Scales(world.noise * one, world.size_effect * one, 0 * one)
        ground = Ground.of(law, scales, PILOT, cells, sizes_of(cells), TARGET)
        told = Estimated.of(ground, PILOT, sizes_of(PILOT), law.log_loss(PILOT)[0])
        factors = np.zeros_like(told.factors)
        if form:
            best = law.best(TARGET)
            off = world.log_loss(best[0])[0] - law.log_loss(best)[0, 0]
            factors[0, form - 1] = off / ground.answer[0, 4 + form]
        return cls(replace(told, factors=factors), form)

    @property
    def sizes(self) -> Counts:
        """(cells,) number of each cell's size."""
        return self.told.sizes

    def changed(self, cell: int, count: int = 1) -> Self:
        """With `count` more runs of a cell."""
        return replace(self, told=self.told.changed(cell, count))

    def with_counts(self, counts: Counts) -> Self:
        """With counts (cells,) of further runs."""
        return replace(self, told=self.told.with_counts(counts))

    def errors(self) -> tuple[Array, Array]:
        """(1,) squared error from chance and from the form."""
        chance, form = (part[[self.form]] for part in self.told.errors())
        return chance, form

    def after(self, cells: Counts | None = None) -> Array:
        """(1, cells) squared error with one more run of each cell, or of each numbered one."""
        return self.told.after(cells)[[self.form]]


def best(world: World, spend: float) -> Counts:
    """(cells,) runs of each cell of `grid_of` the spend."""
    cells = grid_of(spend)
    cost = np.exp(cells.sum(axis=0) - TARGET)
    return choose(Known.of(world, cells), cost, spend, MOST_OF_LOSS, together=2, wide=True).counts


def study(world: World) -> dict[str, Any]:
    """Errors of the chosen design at every spend, and of the usual ones."""
    chosen = [(grid_of(spend), np.tile(best(world, spend), (JUDGED, 1))) for spend in SPENDS]
    y, effects = pilots(world, JUDGED, SEED)
    theta, noise = fitted(PILOT, y, np.ones_like(y)), noise_of(y)
    laid = {name: [design(theta, spend) for spend in LADDER] for name, design in {**EQUAL, **LARGEST}.items()}
    errors: dict[str, Any] = {}
    for name, designs in {"planned": chosen, **laid}.items():
        rng = np.random.default_rng([SEED, *name.encode()])
        judged = [one and rms(lowest_loss(world, seen(world, y, effects, *one, rng), noise)[0]) for one in designs]
        errors[name] = {"loss": judged}
    return {"world": str(world), "spends": SPENDS, "ladder": LADDER, "errors": errors}


def table(records: list[dict[str, Any]]) -> str:
    """Markdown for the end of next_runs.md."""
    heads = ["world", *(f"error at {spend:.2g}" for spend in SPENDS), "equal compute, lowest", *LARGEST]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for record in records:
        found = {name: ratio(record, name, "loss")[0] for name in (*EQUAL, *LARGEST)}
        numbers = min(found[name] for name in EQUAL), *(found[name] for name in LARGEST)
        texts = [f"{value:.2f}" if value >= ENOUGH else f"**{value:.2f}**" for value in numbers]
        errors = [f"{error:.3g}" for error in record["errors"]["planned"]["loss"]]
        lines.append("| " + " | ".join([record["world"], *errors, *texts]) + " |")
    _, _, *about = (__doc__ or "").strip().split("\n\n")
    return f"\n{KNOWN}\n\n{about[0]}\n\n{about[1]} {JUDGED} pilots a world.\n\n" + "\n".join(lines) + "\n"


def main() -> None:
    """Computes every world, writes the record and the table."""
    here = Path(__file__).resolve().parent
    with ProcessPoolExecutor(2) as pool:
        records = list(pool.map(study, WORLDS))
    origin = {**provenance(), "command": "python analysis/next_runs_known.py"}
    del origin["noise"]  # of coverage.py
    (here / "next_runs_known.json").write_text(json.dumps(origin | {"worlds": records}) + "\n", encoding="utf-8")
    kept = json.loads((here / "next_runs.json").read_text(encoding="utf-8"))
    (here / "next_runs.md").write_text(report(kept.pop("worlds"), kept) + table(records), encoding="utf-8")
    print(table(records))


if __name__ == "__main__":
    main()
