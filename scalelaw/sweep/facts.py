"""What a run's cost depends on in its data: classes, resolution, training-set size. Read without jax."""

from __future__ import annotations

from dataclasses import dataclass

from scalelaw import architecture, compute
from scalelaw.errors import UserError
from scalelaw.sweep import disk, hierarchy, sources
from scalelaw.sweep.config import DataConfig, DataSection, RunConfig
from scalelaw.sweep.memory import in_memory
from scalelaw.sweep.recipes import rules_of


@dataclass(frozen=True)
class DataFacts:
    """Classes, side of an image in pixels, and images in the training set."""

    classes: int
    resolution: int
    train_images: int


@dataclass(frozen=True)
class Cost:
    """What one run costs, by arithmetic: its size, epochs, training FLOP and TPU-v4 core-hours."""

    size: architecture.Size
    facts: DataFacts
    epochs: float
    train_flop: float
    core_hours: float


def with_digest(data: DataSection, *, planning: bool = False) -> DataConfig:
    """The data of a run: the section with what tells its images on disk from others, and the sizes that they imply.

    Args:
        planning: where image files are not there, take the sizes that the section states (`train_images`, `classes`).

    Raises:
        UserError: when the images or the settings cannot be used, one line for every mistake.
    """
    wrong = sources.mistakes(data)
    if data.source == "hierarchy":
        wrong += hierarchy.mistakes(data)
    if wrong:
        raise UserError(*wrong)
    if data.source == "hierarchy":
        return DataConfig(**data.model_dump(exclude_defaults=True))
    if data.source in disk.SOURCES:
        if planning and {"train_images", "classes"} <= data.model_fields_set and not disk.is_there(data):
            return DataConfig(**data.model_dump(exclude_defaults=True))
        return disk.complete(data)
    found = in_memory(data)
    settings = data.model_dump(exclude_defaults=True)
    sizes = {"holdout_images": len(found.held_rows), "train_images": len(found.train_rows)}
    left_out = {
        "exclude_digest": disk.exclusion.digest(found.excluded), "excluded_images": len(found.excluded),
        "holdout_exclude_digest": disk.exclusion.digest(found.held_excluded),
        "excluded_holdout_images": len(found.held_excluded), "excluded_classes": found.excluded_classes,
    }  # fmt: skip
    return DataConfig(**{**settings, "digest": found.digest, **sizes, **left_out})


def data_facts(data: DataConfig) -> DataFacts:
    """Classes, resolution and training-set size of data that `with_digest` has completed."""
    assert data.train_images is not None
    if data.source == "hierarchy":
        return DataFacts(data.classes, hierarchy.resolution(data), data.train_images)
    if data.source in disk.SOURCES:
        return DataFacts(data.classes, data.train_side, data.train_images)
    found = in_memory(data)
    return DataFacts(found.classes, found.images.shape[1], data.train_images)


def run_cost(config: RunConfig, facts: DataFacts, utilisation: float = compute.DEFAULT_UTILISATION) -> Cost:
    """The cost of one run at an assumed utilisation of the TPU-v4 peak."""
    model = architecture.variant(config.model.variant, config.model.family)
    size = architecture.size(model, facts.resolution, facts.classes)
    passes = rules_of(config).passes(config.train.batch_size)
    flop = compute.train_flop(size.macs_per_image, config.train.images, passes)
    epochs = config.train.images / facts.train_images
    return Cost(size, facts, epochs, flop, compute.core_hours(flop, utilisation))
