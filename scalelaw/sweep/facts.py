"""What a run's cost depends on in its data: classes, resolution, training-set size. Read without jax."""

from __future__ import annotations

from dataclasses import dataclass

from scalelaw import architecture, compute
from scalelaw.errors import UserError
from scalelaw.sweep import archive
from scalelaw.sweep.config import DataConfig, DataSection, RunConfig


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


def per_level(value: object, levels: int, name: str) -> tuple[object, ...]:
    """One value per level of the hierarchy, from one for all or one for each.

    Raises:
        UserError: when a list's length is not the number of levels.
    """
    if not isinstance(value, tuple | list):
        return (value,) * levels
    if len(value) != levels:
        raise UserError(f"[data] {name}: {len(value)} values for {levels} levels; give one, or one per level")
    return tuple(value)


def image_side(data: DataSection) -> int:
    """Side of a hierarchy's image in pixels: 2x2 branching doubles it, two levels of branching 2 do.

    Raises:
        UserError: when the image would not be square.
    """
    wide = tall = 1
    across = True
    for branching in per_level(data.branching, data.levels, "branching"):
        if branching == "2x2":
            wide, tall = 2 * wide, 2 * tall
        else:
            wide, tall = (2 * wide, tall) if across else (wide, 2 * tall)
            across = not across
    if wide != tall:
        raise UserError('[data] branching: an odd number of levels with "2" makes images that are not square; '
                        'use an even number, or "2x2"')  # fmt: skip
    return wide * data.patch


def with_digest(data: DataSection) -> DataConfig:
    """The data of a run: the section with the archive's SHA-256 and the sizes it implies.

    Raises:
        UserError: when the archive is missing.
    """
    if data.source != "npz":
        if data.train_images is None:
            raise UserError("[data] train_images: is missing; the built-in images have no end, say how many to use")
        if data.path is not None:
            raise UserError("[data] path: the built-in images are generated; leave path out, or use source = 'npz'")
        return DataConfig(**data.model_dump(exclude_defaults=True))
    if data.path is None:
        raise UserError("[data] path: is missing; source = 'npz' reads a NumPy archive")
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
    return DataFacts(data.classes, image_side(data), data.train_images)


def run_cost(config: RunConfig, facts: DataFacts, utilisation: float = compute.DEFAULT_UTILISATION) -> Cost:
    """The cost of one run at an assumed utilisation of the TPU-v4 peak."""
    model = architecture.variant(config.model.variant, config.model.family)
    size = architecture.size(model, facts.resolution, facts.classes)
    flop = compute.train_flop(size.macs_per_image, config.train.images)
    epochs = config.train.images / facts.train_images
    return Cost(size, facts, epochs, flop, compute.core_hours(flop, utilisation))
