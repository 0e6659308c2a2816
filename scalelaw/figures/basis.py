"""The table that figures are drawn from once a basis of compute was chosen: they find that basis alone there."""

from __future__ import annotations

from dataclasses import replace

from scalelaw.errors import UserError, nearest
from scalelaw.frontiers.columns import Basis
from scalelaw.plan.fronts import with_flop
from scalelaw.runs import RunTable

BASES = ("core_hours", "train_flop")


def on_basis(runs: RunTable, basis: Basis | None, mixed: bool) -> RunTable:
    """The runs with the compute that was asked for.

    Args:
        basis: what compute is; core-hours where they are known when None.
        mixed: whether core-hours that were measured in some runs and estimated in others count as one basis.

    Raises:
        UserError: for an unknown basis, or one that the table does not have.
    """
    if basis is not None and basis not in BASES:
        raise UserError(f"figures: unknown basis {basis!r}{nearest(str(basis), list(BASES))} (known: "
                        f"{', '.join(BASES)})")  # fmt: skip
    if basis == "train_flop":
        known = with_flop(runs)
        if not known.has("train_flop"):
            raise UserError(f"{runs.source}: has no train_flop; name them with --column C='...', or leave out --basis")
        return replace(known, frame=known.frame.drop(columns=["core_hours", "core_hours_basis"], errors="ignore"))
    if basis == "core_hours" and not runs.has("core_hours"):
        raise UserError(f"{runs.source}: has no core_hours; take --basis train_flop, or name them with --column")
    if mixed and runs.has("core_hours_basis") and runs.frame["core_hours_basis"].nunique() > 1:
        words = sorted(map(str, runs.frame["core_hours_basis"].dropna().unique()))
        together = replace(runs, frame=runs.frame.assign(core_hours_basis=" and ".join(words)))
        return together.where([True] * len(runs), f"core_hours that are {' and '.join(words)} are taken together")
    return runs
