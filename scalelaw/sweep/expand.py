"""From a spec's grids to runs: each with its configuration, id and cost."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from scalelaw import architecture, compute
from scalelaw.errors import UserError
from scalelaw.sweep.checking import Grid
from scalelaw.sweep.config import MAX_INT, OVERRIDES, DataConfig, DataSection, ModelConfig, RunConfig, TrainConfig
from scalelaw.sweep.facts import Cost, DataFacts, data_facts, run_cost
from scalelaw.sweep.grids import LENGTHS, Key
from scalelaw.sweep.mistakes import nth
from scalelaw.sweep.recipes import rules_of
from scalelaw.sweep.sections import TrainSection
from scalelaw.sweep.spec import Spec


@dataclass(frozen=True)
class PlannedRun:
    """One run of a sweep: its id, configuration and cost.

    Attributes:
        priority: runs of a higher one are trained first.
    """

    run_id: str
    config: RunConfig
    cost: Cost
    priority: int = 0

    @property
    def shape(self) -> tuple[str, str, int, int, int]:
        """Runs of one shape share a compiled step: family, variant, batch size, resolution, classes."""
        model, facts = self.config.model, self.cost.facts
        return model.family, model.variant, self.config.train.batch_size, facts.resolution, facts.classes


def expand(spec: Spec) -> list[PlannedRun]:
    """All runs of a sweep in the order of the file, each once, without those that it excludes.

    Raises:
        UserError: when a budget buys no image, a table of settings matches no run, or no run is left.
    """
    asked: list[tuple[Grid, PlannedRun, dict[Key, Any]]] = []
    mistakes: list[str] = []
    for grid in spec.grids:
        try:
            asked += [(grid, *each) for each in _expand_grid(grid, spec.sweep.utilisation)]
        except UserError as error:
            mistakes += [f"{grid.locate(line)}: {grid.words}{line}" for line in error.messages]
    if mistakes:
        raise UserError(*dict.fromkeys(mistakes))
    for match in spec.matches:
        mistakes += match.mistakes([point for grid, _, point in asked if match.part in (None, grid.part)])
    if mistakes:
        raise UserError(*dict.fromkeys(mistakes))
    found: dict[str, PlannedRun] = {}
    for grid, planned, point in asked:
        takes = [match for match in spec.matches if match.part in (None, grid.part) and match.takes(point)]
        if any(match.word == "exclude" for match in takes):
            continue
        said = [match.priority for match in takes if match.word == "first"]
        earlier = found.get(planned.run_id)
        priority = max([*(said or [grid.priority]), *([earlier.priority] if earlier else [])])
        found[planned.run_id] = replace(planned, priority=priority)
    if not found:
        raise UserError(f"{spec.place('exclude')}: every run is excluded; leave one in")
    return list(found.values())


_ONE = {"seeds": "seed"}  # a setting that a run calls otherwise
_ORDER = ("batch_size", "peak_lr", "recipe", "seeds", *OVERRIDES, "repeats", "evaluations", "lr_scaling")
"""Settings of [train] that span a grid besides its length; the last varies fastest."""


def _expand_grid(grid: Grid, utilisation: float) -> Iterator[tuple[PlannedRun, dict[Key, Any]]]:
    """The runs of a grid, each with its settings as the spec says them."""
    data, train = grid.completed, grid.train
    facts = data_facts(data)
    of_data = {("data", name): getattr(grid.data, name) for name in DataSection.model_fields}
    varied = {name: values for name in _ORDER if (values := getattr(train, name)) is not None}
    models = [ModelConfig(family=family, variant=name) for family in grid.model.family for name in grid.model.variants]
    (unit,) = [name for name in LENGTHS if getattr(train, name) is not None]
    for model in models:
        lengths: dict[float, list[int]] = {}  # by what a step over its images costs
        for (nth_length, given), *rest in itertools.product(enumerate(getattr(train, unit)), *varied.values()):
            one = dict(zip(varied, rest, strict=True))
            settings = {_ONE.get(name, name): value for name, value in one.items() if name != "lr_scaling"}
            if one["lr_scaling"] == "linear":
                settings["peak_lr"] = one["peak_lr"] * one["batch_size"] / 256
            config = RunConfig(data=data, model=model, train=TrainConfig(images=1, **settings), parent=grid.parent)
            passes = rules_of(config).passes(config.train.batch_size) if unit == "core_hours" else 1.0
            if passes not in lengths:
                lengths[passes] = _lengths(train, model, facts, utilisation, passes)
            images = lengths[passes][nth_length]
            config = config.model_copy(update={"train": config.train.model_copy(update={"images": images})})
            cost = run_cost(config, facts, utilisation)
            length = {"images": images, "epochs": cost.epochs, "core_hours": cost.core_hours, unit: given}
            point = {
                **of_data,
                ("model", "family"): model.family,
                ("model", "variants"): model.variant,
                **{("train", name): one.get(name) for name in TrainSection.model_fields if name != "layout"},
                **{("train", name): value for name, value in length.items()},
                ("parent", "run"): None if grid.parent is None else grid.parent.run,
                ("parent", "averaged"): grid.parent is not None and grid.parent.averaged,
            }
            yield PlannedRun(config.run_id, config, cost), point


def _lengths(train: TrainSection, model: ModelConfig, facts: DataFacts, utilisation: float, passes: float) -> list[int]:
    """Images seen, one for each length in the grid, by runs whose steps make so many passes over an image."""
    if train.images is not None:
        return list(train.images)
    if train.epochs is not None:
        given, unit, buyer = train.epochs, "epochs", f"epochs of {facts.train_images} images are"
        exact = [epochs * facts.train_images for epochs in given]
    else:
        assert train.core_hours is not None
        given, unit, buyer = train.core_hours, "core_hours", f"core-hours buy {model.variant}"
        size = architecture.size(architecture.variant(model.variant, model.family), facts.resolution, facts.classes)
        per_image = compute.train_flop(size.macs_per_image, 1, passes)
        exact = [compute.flop_of_core_hours(hours, utilisation) / per_image for hours in given]
    wrong = []
    for index, (length, images) in enumerate(zip(given, exact, strict=True)):
        where = f"[train] {unit}{nth(index, len(given))}"
        if images >= MAX_INT:
            wrong.append(f"{where}: {length:g} {buyer} more than {MAX_INT:.0e} images; lower it")
        elif round(images) < 1:
            wrong.append(f"{where}: {length:g} {buyer} less than one image; raise it")
    if wrong:
        raise UserError(*wrong)
    return [round(images) for images in exact]


def describe(data: DataConfig) -> str:
    """The data in a few words, for a person."""
    if data.source != "hierarchy":
        held = "held-out images" if data.holdout_path is None else f"held-out images of {data.holdout_path}"
        without = f", {data.excluded_images:,} excluded by {data.exclude}" if data.excluded_images else ""
        without += f", {data.excluded_holdout_images:,} held-out ones too" if data.excluded_holdout_images else ""
        return f"{data.path}: {data.train_images:,} training and {data.holdout_images:,} {held}{without}"
    symbols = data.symbols if isinstance(data.symbols, int) else " then ".join(map(str, data.symbols))
    return (
        f"built-in images: {data.classes} classes, {symbols} symbols, {data.levels} levels; "
        f"{data.train_images:,} training and {data.holdout_images:,} held-out images"
    )
