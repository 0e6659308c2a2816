"""The commands that read results: frontier, figures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import arg

from scalelaw.cli.tables import Column, Json, Results, column_map, load, print_json, select


def frontier(
    results: Results,
    basis: Literal["core_hours", "train_flop"] | None = None,
    mixed_basis: bool = False,
    unique_images: float | None = None,
    column: Column = (),
    json: Json = False,
) -> int:
    """Optimal model size and epochs against compute, with intervals and status, and what repeated images are worth.

    Args:
        basis: What compute is; core-hours where they are known.
        mixed_basis: Take core-hours that were measured in some runs and estimated in others together.
        unique_images: Your images: the budget at which one pass over them is best; the runs' own unless given.
    """
    from scalelaw import frontiers

    runs = load(results, column_map(column))
    found = frontiers.frontier(select(runs, "best", ()), basis=basis, mixed=mixed_basis)
    if unique_images is not None:
        found = replace(found, your_images=unique_images)
    if json:
        print_json(found.to_dict())
    else:
        print(found)
    return 0


def figures(
    results: Results,
    out: Annotated[Path, arg(aliases=["-o"], metavar="FOLDER")] = Path("figures"),
    outcomes: Annotated[str | None, arg(metavar="PATH")] = None,
    basis: Literal["core_hours", "train_flop"] | None = None,
    mixed_basis: bool = False,
    column: Column = (),
    json: Json = False,
) -> int:
    """Draws every figure that the runs allow: PDF, PNG and every number as JSON; says which not, and why.

    Args:
        out: Folder for the figures.
        outcomes: Runs trained after a prediction: its figure shows them beside it, at their median compute.
        basis: What compute is; core-hours where they are known. Figures of fine-tuned runs keep core-hours.
        mixed_basis: Take core-hours that were measured in some runs and estimated in others together.
    """
    from scalelaw import figures as drawing

    names = column_map(column)
    later = None if outcomes is None else load(outcomes, names)
    runs = load(results, names)
    paths, skipped = drawing.write(runs, out, outcomes=later, basis=basis, mixed=mixed_basis)
    if json:
        print_json({"written": [str(path) for path in paths], "skipped": list(skipped)})
        return 0
    for path in paths:
        print(path)
    for reason in skipped:
        print(f"skipped: {reason}")
    return 0
