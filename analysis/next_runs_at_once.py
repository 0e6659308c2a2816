"""How much any choice of runs could save for the loss under several forms at once that a pilot leaves open.

    python analysis/next_runs_at_once.py             # a minute; then writes the end of next_runs.md anew

The chooser knows exponent, noise and every surface that may be true, but not which one is. What it saves against one
run under several surfaces is weighed: the weighted geometric mean of what it saves is at least the lowest of them, so
that the highest weighted mean that any design has bounds what can be saved under all. Every design found is scored
under every weighting, spend by spend. Designs are searched, so that better ones may exist and the bounds be higher: by
a few hundredths, as far as searches of one weighting improve on another's. Errors are those of next_runs_oracle.py.

Saved against one run: the compute at which the single run reaches, and keeps, the error of the design, over that of the
design; geometric mean over the five spends. Forms: of the design searched for that weighting.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import next_runs
import numpy as np
from coverage import provenance
from designs import Array, World
from next_runs_bound import BOUND
from next_runs_oracle import PILOT, Score, Truth, best, laid
from next_runs_tables import AT_ONCE, ENOUGH

EXPONENT, NOISE = 0.5, 0.01
FORMS = ("interaction", "broken", "turned")
WEIGHTS = ((1, 0, 0), (0, 1, 0), (0, 0, 1), (0.3, 0.7, 0), (0.4, 0.6, 0), (0.45, 0.55, 0), (0.5, 0.5, 0),
           (0.3, 0.5, 0.2), (0, 0.5, 0.5), (0, 0.6, 0.4))  # fmt: skip
"""Of the forms. The third is none of next_runs.py's worlds: it was added in view of what the first two gave."""
LADDER = 2.0 ** np.arange(-8, 2.01, 0.125)
"""Compute of single runs, in shares of the target's."""


class Saved:
    """ln compute that one run needs for an error of ln loss in one world, by its errors along a ladder."""

    def __init__(self, truth: Truth) -> None:
        found = [laid(truth, "one run", spend) for spend in LADDER]
        errors = np.array([np.inf if error is None else error for error in found])
        self.kept = np.log(np.maximum.accumulate(errors[::-1])[::-1])

    def __call__(self, error: Array) -> Array:
        """Of ln errors, in the ladder's range."""
        return np.asarray(np.interp(-error, -self.kept, np.log(LADDER)))


def weighted(saved: list[Saved], weights: Array) -> Score:
    """To be low: minus the weighted mean of ln compute that one run needs."""
    return lambda errors: -sum(w * of(e) for w, of, e in zip(weights, saved, errors, strict=True))


def _saved(saved: list[Saved], errors: Array, spend: float) -> list[float]:
    """ln of what a design of these errors saves under each form."""
    return [float(of(error)) - np.log(spend) for of, error in zip(saved, np.log(errors), strict=True)]


def study() -> dict[str, Any]:
    """For every weighting the highest weighted mean found, and what its designs save under each form."""
    truths = [Truth.of(World(EXPONENT, NOISE, kind)) for kind in FORMS]
    saved = [Saved(truth) for truth in truths]
    logs = np.array(
        [
            [_saved(saved, best(truths, spend, weighted(saved, np.array(weights))), spend) for weights in WEIGHTS]
            for spend in next_runs.SPENDS
        ]
    )  # (spends, designs, forms)
    each = np.exp(logs.mean(axis=0))
    means = np.exp((logs @ np.array(WEIGHTS, float).T).max(axis=1).mean(axis=0))
    rows = [{"weights": weights, "mean": float(mean), "each": own.tolist()}
            for weights, mean, own in zip(WEIGHTS, means, each, strict=True)]  # fmt: skip
    seen = [float(np.sqrt(np.mean(truth.at(PILOT)[1] ** 2))) / NOISE for truth in truths]
    return {"forms": FORMS, "exponent": EXPONENT, "noise": NOISE, "seen": seen, "rows": rows}


def table(record: dict[str, Any]) -> str:
    """Markdown for the end of next_runs.md."""
    about = (__doc__ or "").split("\n\n")
    seen = ", ".join(f"{name} {value:.2f}" for name, value in zip(record["forms"], record["seen"], strict=True))
    lines = ["| " + " | ".join(["weights of " + ", ".join(record["forms"]), "highest mean", *record["forms"]]) + " |"]
    lines.append("|---" * (2 + len(FORMS)) + "|")
    for row in record["rows"]:
        mean = f"{row['mean']:.2f}" if row["mean"] >= ENOUGH else f"**{row['mean']:.2f}**"
        weights = ", ".join(f"{weight:g}" for weight in row["weights"])
        lines.append(f"| {weights} | {mean} | " + " | ".join(f"{value:.2f}" for value in row["each"]) + " |")
    lowest = min(row["mean"] for row in record["rows"])
    recorded = min(row["mean"] for row in record["rows"] if not row["weights"][2])
    return (
        f"""{AT_ONCE}

{about[2].strip()}

{about[3].strip()}

Exponent {record["exponent"]:g}, noise {record["noise"]:g}; "turned" is an interaction that falls with data rather than
with size. Root mean square error of the form in the pilot, over noise: {seen}. Bold: below
{ENOUGH}. Lowest of the means: {recorded:.2f} for interaction and broken, {lowest:.2f} with the third form,
which is none of the worlds above. Designs are searched: neither says that {ENOUGH} cannot be had.

"""
        + "\n".join(lines)
        + "\n"
    )


def main() -> None:
    """Computes the means, writes them and the end of next_runs.md."""
    here = Path(__file__).resolve().parent
    record = study()
    origin = {**provenance(), "command": "python analysis/next_runs_at_once.py"}
    (here / "next_runs_at_once.json").write_text(json.dumps(origin | record) + "\n", encoding="utf-8")
    readable = here / "next_runs.md"
    before, _, after = readable.read_text(encoding="utf-8").partition(AT_ONCE)
    _, head, bound = after.partition(BOUND)
    end = f"\n{head}{bound}" if head else ""
    readable.write_text(f"{before.rstrip()}\n\n{table(record)}{end}", encoding="utf-8")
    print(table(record), file=sys.stdout)


if __name__ == "__main__":
    main()
