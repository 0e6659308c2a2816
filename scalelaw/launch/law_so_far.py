"""The law of a sweep that is under way: a power law through the envelope of the cells that are done."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from scalelaw.errors import UserError
from scalelaw.launch.unfinished import cell_of

if TYPE_CHECKING:
    from scalelaw.fitting import Fit
    from scalelaw.runs import RunTable

FEWEST = 3
"""Points of the envelope: two determine a line and leave nothing that says how well."""


@dataclass(frozen=True)
class LawSoFar:
    """A power law of loss in compute, from the cells that are done.

    A cell is done when every run of it is finished or diverged: before that its best learning rate may be to come.

    Attributes:
        cells_done, cells: how many, and of how many; None where some runs do not say what they are.
        fit: None where too little is done; `reason` says what is missing.
        unit: of compute: core_hours or train_flop.
        runs_later: whether the sweep has still to choose some of its runs, in whatever cells.
        reason: why there is no law, else None.
    """

    cells_done: int
    cells: int | None
    fit: Fit | None = None
    unit: str | None = None
    reason: str | None = None
    runs_later: bool = False

    @property
    def provisional(self) -> bool:
        """Whether cells, or runs of them, are still to come."""
        return self.runs_later or self.cells is None or self.cells_done < self.cells

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, None for what is unknown."""
        found: dict[str, Any] = {"cells_done": self.cells_done, "cells": self.cells, "provisional": self.provisional}
        if self.fit is None:
            return {**found, "law": None, "reason": self.reason}
        kept = ("law", "params", "stderr", "interval", "n", "points", "status", "warnings")
        answer = self.fit.to_dict(data=False)
        return {**found, **{name: answer[name] for name in kept}, "compute": self.unit, "reason": None}

    def __str__(self) -> str:
        of = "" if self.cells is None else f" of {self.cells}"
        cells = f"{self.cells_done}{of} cells{', provisional' if self.provisional else ''}"
        if self.fit is None:
            return f"law: {self.reason}; {cells}"
        low, high = self.fit.interval("alpha")
        interval = "no interval" if low is None or high is None else f"{-high:.3g} to {-low:.3g}"
        A, alpha = self.fit.params["A"], self.fit.params["alpha"]
        unit = "" if self.unit == "core_hours" else " C in FLOP,"
        return f"law: L = {A:.4g} C^{-alpha:.3g} ({interval}) {self.fit.status},{unit} {cells}"


def law_so_far(rows: RunTable, unfinished_cells: Mapping[str, str | None], *, runs_later: bool = False) -> LawSoFar:
    """Fits the cells that are done.

    Args:
        rows: of all runs that have one.
        unfinished_cells: by id the cell of every run that is neither finished nor diverged; None where it is unknown.
        runs_later: whether the sweep has still to choose some of its runs.
    """
    open_cells = set(unfinished_cells.values())
    own = _cells(rows)
    done = [key for run_id, key in own.items() if run_id not in unfinished_cells]
    complete = set(done) - open_cells
    known = None not in open_cells
    found = LawSoFar(len(complete), len({*done, *open_cells}) if known else None, runs_later=runs_later)
    table = rows.where([own[run_id] in complete and run_id not in unfinished_cells for run_id in own]).finished()
    if not len(table):
        return replace(found, reason="no cell is done yet")
    try:
        front = table.best_over("peak_lr").envelope()
        if len(front) < FEWEST:
            return replace(found, reason=f"too few points on the envelope ({len(front)} of {FEWEST})")
        from scalelaw import fitting, laws

        cost, unit = front.variable("C")
        fit = fitting.fit(laws.PowerLaw, C=cost, L=front.variable("L")[0], points="envelope")
    except UserError as error:
        return replace(found, reason=error.messages[0].rstrip("."))
    return replace(found, fit=fit, unit=unit)


def _cells(rows: RunTable) -> dict[str, str]:
    """The cell of each row: by its configuration, else by its columns."""
    configs = rows.frame["config"] if "config" in rows.frame else [None] * len(rows)
    groups: Any = None
    found = {}
    for k, (run_id, config) in enumerate(zip(rows.frame["run_id"], configs, strict=True)):
        key = _of_text(config)
        if key is None:
            groups = rows.cells().to_numpy() if groups is None else groups
            key = f"columns {groups[k]}"
        found[str(run_id)] = key
    return found


def _of_text(config: Any) -> str | None:
    try:
        return cell_of(json.loads(config))
    except (ValueError, TypeError, AttributeError):
        return None
