"""From a spec's grids to runs: each with its configuration, id and cost."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from scalelaw import architecture, compute
from scalelaw.errors import UserError
from scalelaw.sweep.config import DataConfig, ModelConfig, RunConfig, TrainConfig
from scalelaw.sweep.facts import Cost, DataFacts, data_facts, run_cost, with_digest
from scalelaw.sweep.spec import Grid, Spec, TrainSection


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
    for grid in spec.grids:
        for planned in _expand_grid(grid, spec.sweep.utilisation):
            found.setdefault(planned.run_id, planned)
    return list(found.values())


def _expand_grid(grid: Grid, utilisation: float) -> Iterator[PlannedRun]:
    data = with_digest(grid.data)
    facts = data_facts(data)
    train = grid.train
    optional = ("weight_decay", "momentum", "clipping", "warmup_share")
    varied = {name: values for name in optional if (values := getattr(train, name)) is not None}
    for name in grid.model.variants:
        model = ModelConfig(family=grid.model.family, variant=name)
        for images, batch, rate, recipe, seed, *rest in itertools.product(
            _lengths(train, model, facts, utilisation),
            train.batch_size,
            train.peak_lr,
            train.recipe,
            train.seeds,
            *varied.values(),
        ):
            settings = TrainConfig(
                images=images,
                batch_size=batch,
                peak_lr=rate,
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
        images = [round(epochs * facts.train_images) for epochs in train.epochs]
    else:
        assert train.core_hours is not None
        macs = architecture.size(
            architecture.variant(model.variant, model.family), facts.resolution, facts.classes
        ).macs_per_image
        flop = [compute.flop_of_core_hours(hours, utilisation) for hours in train.core_hours]
        images = [round(total / compute.train_flop(macs, 1)) for total in flop]
    for length, given in zip(images, train.epochs or train.core_hours or (), strict=True):
        if length < 1:
            unit = "epochs" if train.epochs is not None else "core_hours"
            raise UserError(f"[train] {unit}: {given:g} buys {model.variant} less than one image; raise it")
    return images


def describe(data: DataConfig) -> str:
    """The data in a few words, for a person."""
    if data.source == "npz":
        return f"{data.path}: {data.train_images:,} training and {data.holdout_images:,} held-out images"
    return (
        f"built-in images: {data.classes} classes, {data.symbols} symbols, {data.levels} levels; "
        f"{data.train_images:,} training and {data.holdout_images:,} held-out images"
    )
