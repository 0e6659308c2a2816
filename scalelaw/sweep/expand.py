"""From a spec's grids to runs: each with its configuration, id and cost."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from scalelaw import architecture, compute
from scalelaw.errors import UserError
from scalelaw.sweep.config import MAX_INT, OVERRIDES, DataConfig, ModelConfig, RunConfig, TrainConfig
from scalelaw.sweep.facts import Cost, DataFacts, data_facts, run_cost, with_digest
from scalelaw.sweep.sections import TrainSection
from scalelaw.sweep.spec import Grid, Spec, place_of_grid


@dataclass(frozen=True)
class PlannedRun:
    """One run of a sweep: its id, configuration and cost."""

    run_id: str
    config: RunConfig
    cost: Cost

    @property
    def shape(self) -> tuple[str, str, int, int, int]:
        """Runs of one shape share a compiled step: family, variant, batch size, resolution, classes."""
        model, facts = self.config.model, self.cost.facts
        return model.family, model.variant, self.config.train.batch_size, facts.resolution, facts.classes


def expand(spec: Spec) -> list[PlannedRun]:
    """All runs of a sweep in the order of the file, each once.

    Raises:
        UserError: when the data cannot be used, or a budget buys no image.
    """
    found: dict[str, PlannedRun] = {}
    mistakes: list[str] = []
    for index, grid in enumerate(spec.grids):
        try:
            for planned in _expand_grid(grid, spec.sweep.utilisation):
                found.setdefault(planned.run_id, planned)
        except UserError as error:
            mistakes += [f"{place_of_grid(spec.source, index)}: {line}" for line in error.messages]
    if mistakes:
        raise UserError(*dict.fromkeys(mistakes))
    return list(found.values())


def _expand_grid(grid: Grid, utilisation: float) -> Iterator[PlannedRun]:
    data = with_digest(grid.data)
    facts = data_facts(data)
    train = grid.train
    varied = {name: values for name in OVERRIDES if (values := getattr(train, name)) is not None}
    models = [ModelConfig(family=grid.model.family, variant=name) for name in grid.model.variants]
    for model, lengths in [(model, _lengths(train, model, facts, utilisation)) for model in models]:
        for images, batch, rate, recipe, seed, *rest in itertools.product(
            lengths,
            train.batch_size,
            train.peak_lr,
            train.recipe,
            train.seeds,
            *varied.values(),
        ):
            settings = TrainConfig(
                images=images,
                batch_size=batch,
                peak_lr=rate * batch / 256 if train.lr_scaling == "linear" else rate,
                recipe=recipe,
                seed=seed,
                evaluations=train.evaluations,
                **dict(zip(varied, rest, strict=True)),
            )
            config = RunConfig(data=data, model=model, train=settings)
            yield PlannedRun(config.run_id, config, run_cost(config, facts, utilisation))


def _lengths(train: TrainSection, model: ModelConfig, facts: DataFacts, utilisation: float) -> list[int]:
    """Images seen, one for each length in the grid."""
    if train.images is not None:
        return list(train.images)
    if train.epochs is not None:
        given, unit, buyer = train.epochs, "epochs", f"epochs of {facts.train_images} images are"
        exact = [epochs * facts.train_images for epochs in given]
    else:
        assert train.core_hours is not None
        given, unit, buyer = train.core_hours, "core_hours", f"core-hours buy {model.variant}"
        size = architecture.size(architecture.variant(model.variant, model.family), facts.resolution, facts.classes)
        per_image = compute.train_flop(size.macs_per_image, 1)
        exact = [compute.flop_of_core_hours(hours, utilisation) / per_image for hours in given]
    wrong = []
    for length, images in zip(given, exact, strict=True):
        if images >= MAX_INT:
            wrong.append(f"[train] {unit}: {length:g} {buyer} more than {MAX_INT:.0e} images; lower it")
        elif round(images) < 1:
            wrong.append(f"[train] {unit}: {length:g} {buyer} less than one image; raise it")
    if wrong:
        raise UserError(*wrong)
    return [round(images) for images in exact]


def describe(data: DataConfig) -> str:
    """The data in a few words, for a person."""
    if data.source != "hierarchy":
        held = "held-out images" if data.holdout_path is None else f"held-out images of {data.holdout_path}"
        without = f", {data.excluded_images:,} excluded by {data.exclude}" if data.excluded_images else ""
        return f"{data.path}: {data.train_images:,} training and {data.holdout_images:,} {held}{without}"
    symbols = data.symbols if isinstance(data.symbols, int) else " then ".join(map(str, data.symbols))
    return (
        f"built-in images: {data.classes} classes, {symbols} symbols, {data.levels} levels; "
        f"{data.train_images:,} training and {data.holdout_images:,} held-out images"
    )
