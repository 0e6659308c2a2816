"""The configuration of one run, and the id that its canonical JSON gives it."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from scalelaw.runs.files import canonical

MAX_INT = 2**53  # below it every whole number is a float64 too

# Strict: neither true nor "1" is a number. A whole number may stand for a float.
PositiveInt = Annotated[int, Field(gt=0, lt=MAX_INT, strict=True)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False, strict=True)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False, strict=True)]
Share = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False, strict=True)]
Seed = Annotated[int, Field(ge=0, lt=2**31, strict=True)]
Branching = Literal["2", "2x2"]
ZipfA = NonNegative | Literal["uniform"]
RecipeName = Literal["pretrain", "imagenet"]
Precision = Literal["float32", "bfloat16"]
WARMUPS = ("warmup_share", "warmup_epochs", "warmup_steps")
OVERRIDES = ("weight_decay", "momentum", "clipping", *WARMUPS, "label_smoothing", "dropout", "stochastic_depth", "ema",
             "precision")  # fmt: skip
"""Settings of [train] that stand for a recipe's own."""


class Section(BaseModel):
    """A frozen group of settings that knows all its keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class DataSection(Section):
    """[data]: the training and held-out images.

    Attributes:
        source: "hierarchy" (the built-in images) or "npz" (a NumPy archive at `path`).
        path: the archive; its content, not its place, belongs to the run's id.
        train_images: size of the training set; for an archive, all but the held-out images unless given.
        holdout_images: size of the held-out set (for an archive at most a fifth of it).
        seed: of the grammar and of the archive's split.
        classes, symbols, levels, rules, branching, patch, zipf_a, noise: the Random Hierarchy Model
            (`scalelaw.train.data.hierarchy`); symbols, rules, branching and zipf_a are one value or one per level.
    """

    source: Literal["hierarchy", "npz"]
    path: str | None = None
    train_images: PositiveInt | None = None
    holdout_images: PositiveInt = 4096
    seed: Seed = 0
    classes: PositiveInt = 100
    symbols: PositiveInt | tuple[PositiveInt, ...] = 32
    levels: PositiveInt = 2
    rules: PositiveInt | tuple[PositiveInt, ...] = 32
    branching: Branching | tuple[Branching, ...] = "2x2"
    patch: PositiveInt = 2
    zipf_a: ZipfA | tuple[ZipfA, ...] = 0.0
    noise: NonNegative = 0.3


class DataConfig(DataSection):
    """The data of one run: the section, with the archive's SHA-256 in `digest`."""

    digest: str | None = None

    @property
    def name(self) -> str:
        """A short name and a hash of everything but the training set's size: one name, one distribution of images."""
        settings = self.model_dump(mode="json", exclude_defaults=True, exclude={"path", "train_images"})
        return f"{self.source}-{_hash(canonical(settings))[:8]}"


class ModelConfig(Section):
    """The network: a variant of a family in `scalelaw.architecture`."""

    family: str = "nfnet"
    variant: str


class TrainConfig(Section):
    """One schedule.

    Attributes:
        images: training images shown, repeats counted; epochs are images / training-set size.
        batch_size: images a step.
        peak_lr: learning rate at the end of warm-up.
        seed: of the initial weights and, with the run's id, of the data order.
        recipe: a key of `scalelaw.sweep.recipes.RECIPES`.
        evaluations: evenly spaced evaluations on held-out images; the last is the result.
        the others: the recipe's own (`scalelaw.sweep.recipes.Recipe`) unless given; of the three lengths of the warm-up
            at most one.
    """

    images: PositiveInt
    batch_size: PositiveInt = 64
    peak_lr: Positive
    seed: Seed = 0
    recipe: RecipeName = "pretrain"
    evaluations: Annotated[int, Field(ge=1, le=1000, strict=True)] = 4
    weight_decay: NonNegative | None = None
    momentum: Share | None = None
    clipping: Positive | None = None
    warmup_share: Share | None = None
    warmup_epochs: NonNegative | None = None
    warmup_steps: Annotated[int, Field(ge=0, lt=MAX_INT, strict=True)] | None = None
    label_smoothing: Share | None = None
    dropout: Share | None = None
    stochastic_depth: Share | None = None
    ema: Share | None = None
    precision: Precision | None = None

    @property
    def overrides(self) -> dict[str, Any]:
        """The recipe's settings that this run sets itself."""
        return {name: value for name in OVERRIDES if (value := getattr(self, name)) is not None}


class RunConfig(Section):
    """Everything that decides the outcome of a run, and nothing that does not."""

    data: DataConfig
    model: ModelConfig
    train: TrainConfig

    def to_json(self) -> dict[str, Any]:
        """The configuration as JSON values, fields at their defaults left out."""
        return self.model_dump(mode="json", exclude_defaults=True)

    @property
    def canonical(self) -> str:
        """The configuration as JSON text without fields at their defaults and without the data's place."""
        return canonical(self.model_dump(mode="json", exclude_defaults=True, exclude={"data": {"path"}}))

    @property
    def run_id(self) -> str:
        """16 hex digits: the hash of the canonical text.

        New settings must have defaults that mean the old behaviour, so that finished runs keep their ids.
        """
        return _hash(self.canonical)[:16]


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
