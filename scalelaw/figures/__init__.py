"""The paper's figures from anybody's runs: `collect` the numbers, `draw` them, save PDF, PNG and JSON.

| name                 | shows                                                                              |
|----------------------|------------------------------------------------------------------------------------|
| figure1              | error after fine-tuning against pre-training compute, with the law of its front    |
| error_vs_loss        | error after fine-tuning against pre-training loss, equal compute joined            |
| figure2              | held-out loss against compute, a curve a model, with the law of the front          |
| figure3              | best learning rate against epochs, a curve a model                                 |
| frontier             | best size and best number of epochs against compute                                |
| equal_compute        | loss against size, a panel a budget, with the exact shape's curve and the parabola |
| surface              | contours of the loss surface, the runs, and the path of lowest loss                |
| residuals            | what the loss surface leaves, by run and by size, beside the noise of a run        |
| roll_outs            | the dearest runs as predicted without them, at several cut-offs                    |
| learning_rate_basins | loss against learning rate, a panel a cell, with the curve and its optimum         |
| prediction           | the front out to a budget, the loss predicted there, and runs trained afterwards   |

A new figure is a module with `collect(runs) -> numbers` and `draw(ax, numbers) -> ax`, and one more entry of `FIGURES`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from scalelaw.errors import UserError, nearest
from scalelaw.figures import (
    equal_compute,
    error_vs_compute,
    error_vs_loss,
    frontier,
    learning_rate_basins,
    legend,
    loss_vs_compute,
    optimal_lr,
    prediction,
    residuals,
    roll_outs,
    style,
    surface,
)
from scalelaw.figures.basis import on_basis
from scalelaw.figures.numbers import Numbers
from scalelaw.figures.panels import Layout, page
from scalelaw.frontiers.columns import Basis
from scalelaw.runs import RunTable


@dataclass(frozen=True)
class Sheet:
    """One figure: where its numbers come from and how they are drawn.

    Attributes:
        collect: runs -> the plain JSON numbers of the figure; a UserError says why there is none.
        draw: (axes, numbers) -> axes; a sequence of axes where `several`.
        layout: numbers -> how many panels, how they stand, and their height.
        several: whether `draw` takes a sequence of axes.
        concerns: whether the figure is about such a table at all; where it is not, it is drawn only when asked for.
        hours: whether its compute is core-hours whatever basis the others are drawn on.
    """

    collect: Callable[[RunTable], Numbers]
    draw: Callable[[Any, Numbers], Any]
    layout: Callable[[Numbers], Layout]
    several: bool = False
    concerns: Callable[[RunTable], bool] = lambda _: True
    hours: bool = False

    def make(self, numbers: Numbers) -> Figure:
        """The figure; the user's matplotlib settings play no part and are not changed."""
        layout = self.layout(numbers)
        with style.paper():
            figure, axes = page(layout)
            self.draw(axes if self.several else axes[0], numbers)
            figure.align_ylabels(axes)
            legend.make_room(figure, layout.height)
        return figure


def _single(height: float, panels: int = 1) -> Callable[[Numbers], Layout]:
    """Panels of one column's width, one above the other."""
    return lambda _: Layout(height, panels)


FIGURES: dict[str, Sheet] = {
    "figure1": Sheet(
        error_vs_compute.collect,
        error_vs_compute.draw,
        error_vs_compute.layout,
        several=True,
        concerns=lambda runs: runs.has("parent"),
        hours=True,
    ),
    "error_vs_loss": Sheet(
        error_vs_loss.collect, error_vs_loss.draw, _single(2.8), concerns=lambda runs: runs.has("parent"), hours=True
    ),
    "figure2": Sheet(loss_vs_compute.collect, loss_vs_compute.draw, _single(2.6)),
    "figure3": Sheet(optimal_lr.collect, optimal_lr.draw, _single(2.2)),
    "frontier": Sheet(frontier.collect, frontier.draw, _single(3.7, panels=2), several=True),
    "equal_compute": Sheet(equal_compute.collect, equal_compute.draw, equal_compute.layout, several=True),
    "surface": Sheet(surface.collect, surface.draw, surface.layout),
    "residuals": Sheet(residuals.collect, residuals.draw, residuals.layout, several=True),
    "roll_outs": Sheet(roll_outs.collect, roll_outs.draw, roll_outs.layout, several=True),
    "learning_rate_basins": Sheet(
        learning_rate_basins.collect, learning_rate_basins.draw, learning_rate_basins.layout, several=True
    ),
    "prediction": Sheet(prediction.collect, prediction.draw, prediction.layout, several=True),
}


class Written(NamedTuple):
    """Files written, and one sentence for every figure that could not be drawn."""

    paths: list[Path]
    skipped: list[str]


def write(
    runs: RunTable,
    folder: str | Path,
    names: Sequence[str] | None = None,
    *,
    outcomes: RunTable | None = None,
    basis: Basis | None = None,
    mixed: bool = False,
) -> Written:
    """Draws figures of `runs` into `folder` as <name>.pdf, <name>.png and <name>.json.

    Args:
        runs: all runs; each figure takes the finished ones and selects for itself.
        folder: made when it is not there.
        names: of `FIGURES`; all that concern the runs when None. One that is asked for by name must be drawn, others
            may be skipped.
        outcomes: runs trained after a prediction, for its figure, which then must be drawn.
        basis: what compute is; core-hours where they are known when None. Figures of fine-tuned runs keep core-hours.
        mixed: take core-hours that were measured in some runs and estimated in others together.

    Raises:
        UserError: for an unknown name, an unknown basis or one that the table does not have, a named figure that cannot
            be drawn, no figure at all, outcomes without their figure, or a folder that cannot be written.
    """
    unknown = [name for name in names or () if name not in FIGURES]
    if unknown:
        known = f"known: {', '.join(FIGURES)}"
        raise UserError(*(f"unknown figure {name!r}{nearest(name, list(FIGURES))} ({known})" for name in unknown))
    sheets = {name: FIGURES[name] for name in names or FIGURES if names or FIGURES[name].concerns(runs)}
    needed = set(names or ())
    if outcomes is not None:
        if "prediction" not in sheets:
            raise UserError(f"outcomes belong to the figure prediction, not to {', '.join(sheets)}; ask for it too")
        needed.add("prediction")
        beside = partial(prediction.collect, outcomes=outcomes)
        sheets["prediction"] = replace(sheets["prediction"], collect=beside)
    based = on_basis(runs, basis, mixed)
    collected, missing = {}, {}
    for name, sheet in sheets.items():
        try:
            collected[name] = sheet.collect(runs if sheet.hours else based)
        except UserError as error:
            missing[name] = [f"{name}: {message}" for message in error.messages]
    skipped = [sentence for sentences in missing.values() for sentence in sentences]
    if not collected:
        raise UserError(*skipped)
    if refused := [sentence for name in missing if name in needed for sentence in missing[name]]:
        raise UserError(*refused)
    paths = []
    for name, numbers in collected.items():
        paths += style.save(sheets[name].make(numbers), folder, name, numbers)
    return Written(paths, skipped)
