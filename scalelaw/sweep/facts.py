"""What a run's cost depends on in its data: classes, resolution, training-set size. Read without jax."""

from __future__ import annotations

from dataclasses import dataclass

from scalelaw import architecture, compute
from scalelaw.errors import UserError
from scalelaw.sweep import archive, hierarchy
from scalelaw.sweep.config import DataConfig, DataSection, RunConfig

ARCHIVE_SETTINGS = {"source", "path", "train_images", "holdout_images", "seed", "digest"}


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


def with_digest(data: DataSection) -> DataConfig:
    """The data of a run: the section with the archive's SHA-256 and the sizes it implies.

    Raises:
        UserError: when the archive or the settings cannot be used, one line for every mistake.
    """
    if data.source != "npz":
        if wrong := hierarchy.mistakes(data):
            raise UserError(*wrong)
        return DataConfig(**data.model_dump(exclude_defaults=True))
    if data.path is None:
        raise UserError("[data] path: is missing; source = 'npz' reads a NumPy archive")
    if foreign := sorted(data.model_fields_set - ARCHIVE_SETTINGS):
        raise UserError(f"[data] {', '.join(foreign)}: belong to the built-in images, source = 'npz' has none; "
                        "leave them out")  # fmt: skip
    found = archive.read(data.path)
    holdout = found.held_out(data.holdout_images)
    most = len(found.images) - holdout
    train = most if data.train_images is None else data.train_images
    if train > most:
        raise UserError(f"[data] train_images: {data.path} has {len(found.images)} images, of which {holdout} are "
                        f"held out; ask for at most {most}")  # fmt: skip
    settings = data.model_dump(exclude_defaults=True)
    return DataConfig(**{**settings, "digest": found.digest, "holdout_images": holdout, "train_images": train})


def data_facts(data: DataConfig) -> DataFacts:
    """Classes, resolution and training-set size of data that `with_digest` has completed."""
    assert data.train_images is not None
    if data.source == "npz":
        assert data.path is not None
        found = archive.read(data.path)
        return DataFacts(found.classes, found.images.shape[1], data.train_images)
    return DataFacts(data.classes, hierarchy.resolution(data), data.train_images)


def run_cost(config: RunConfig, facts: DataFacts, utilisation: float = compute.DEFAULT_UTILISATION) -> Cost:
    """The cost of one run at an assumed utilisation of the TPU-v4 peak."""
    model = architecture.variant(config.model.variant, config.model.family)
    size = architecture.size(model, facts.resolution, facts.classes)
    flop = compute.train_flop(size.macs_per_image, config.train.images)
    epochs = config.train.images / facts.train_images
    return Cost(size, facts, epochs, flop, compute.core_hours(flop, utilisation))
