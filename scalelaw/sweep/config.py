"""The configuration of one run, and the id that its canonical JSON gives it."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

from scalelaw.runs.files import canonical

MAX_INT = 2**53  # below it every whole number is a float64 too

# Strict: neither true nor "1" is a number. A whole number may stand for a float.
PositiveInt = Annotated[int, Field(gt=0, lt=MAX_INT, strict=True)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False, strict=True)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False, strict=True)]
Share = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False, strict=True)]


def _whole_part(value: float) -> float:
    """A share that every k-th row of a batch makes up; 0.33 stands for a third."""
    rows = round(1 / value)
    if abs(value * rows - 1) > 0.02:
        near = sorted({1 / max(1, int(1 / value)), 1 / (int(1 / value) + 1)}, reverse=True)
        choices = " or ".join(f"{share:.4g}" for share in near)
        sentence = "must be 1 over a whole number, as every second or third row is taken; choose {choices}"
        raise PydanticCustomError("whole_part", sentence, {"choices": choices})
    return value


Part = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False, strict=True), AfterValidator(_whole_part)]
Seed = Annotated[int, Field(ge=0, lt=2**31, strict=True)]
Branching = Literal["2", "2x2"]
ZipfA = NonNegative | Literal["uniform"]
RecipeName = Literal["pretrain", "imagenet", "finetune"]
Precision = Literal["float32", "bfloat16"]
WARMUPS = ("warmup_share", "warmup_epochs", "warmup_steps")
OVERRIDES = ("weight_decay", "momentum", "clipping", *WARMUPS, "label_smoothing", "dropout", "stochastic_depth", "ema",
             "precision", "sam_radius", "sam_share")  # fmt: skip
"""Settings of [train] that stand for a recipe's own."""


class Section(BaseModel):
    """A frozen group of settings that knows all its keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class DataSection(Section):
    """[data]: the training and held-out images. `scalelaw.sweep.sources` says which keys belong to which source.

    Attributes:
        source: "hierarchy" (the built-in images), "npz" (a NumPy archive), "cifar10" or "cifar100" (the official binary
            files), "folder" (a folder for each class), "parquet" (Hugging Face's layout) or "arrayrecord".
        path: where the images lie; their content, not their place, belongs to the run's id.
        holdout_path: the held-out images, in the layout of `path`; without it they are split off the training images.
        exclude: file of training images to leave out, one name a line, as `scalelaw dedup` writes it.
        holdout_exclude: the same of held-out images.
        train_images: size of the training set; all but the held-out images unless given.
        holdout_images: at most so many are held out (of images split off at most a fifth); all of `holdout_path`
            unless given.
        seed: of the grammar and of the split.
        classes: of the built-in images, and of ArrayRecord files that do not tell themselves.
        symbols, levels, rules, branching, patch, zipf_a, noise: the Random Hierarchy Model
            (`scalelaw.train.data.hierarchy`); symbols, rules, branching and zipf_a are one value or one per level.
        task_seed: of a second task on the built-in images of `seed`: classes and the first `new_levels` levels of rules
            are its own, the levels below and the patches are shared.
        new_levels: how many levels of rules a second task draws anew, from the class down.
        augment: of training images: "none", "flip" (mirrored half of the time) or "crop-flip" (a random crop too); of
            the built-in ones "none" or "noise" (other noise at every sight of an image). Unless given, "none" for the
            built-in images and a NumPy archive, "crop-flip" for everything else from disk.
        resolution: side of a training image in pixels; 224 unless given.
        eval_resolution: side of a held-out image; 8/7 of `resolution` unless given, so 256 at 224.
        crop_area, crop_aspect: a random crop's share of the image's area and its width over height, lowest and highest.
        pixel_mean, pixel_std: of red, green and blue, on a scale from 0 to 1; ImageNet's unless given.
        image_key, label_key: columns of Parquet files, features of ArrayRecord files.
        cache: folder that Parquet files are unpacked in as they are first read, for sets that memory does not hold.
        max_corrupt: share of unreadable images that a run bears.
        decode_threads: threads that read and decode; one for each core, at most 16, unless given.
    """

    source: Literal["hierarchy", "npz", "cifar10", "cifar100", "folder", "parquet", "arrayrecord"]
    path: str | None = None
    holdout_path: str | None = None
    exclude: str | None = None
    holdout_exclude: str | None = None
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
    task_seed: Seed | None = None
    new_levels: PositiveInt = 1
    augment: Literal["none", "flip", "crop-flip", "noise"] | None = None
    resolution: PositiveInt | None = None
    eval_resolution: PositiveInt | None = None
    crop_area: tuple[Positive, Positive] = (0.08, 1.0)
    crop_aspect: tuple[Positive, Positive] = (0.75, 4 / 3)
    pixel_mean: tuple[NonNegative, NonNegative, NonNegative] = (0.485, 0.456, 0.406)
    pixel_std: tuple[Positive, Positive, Positive] = (0.229, 0.224, 0.225)
    image_key: str = "image"
    label_key: str = "label"
    cache: str | None = None
    max_corrupt: Share = 0.001
    decode_threads: PositiveInt | None = None

    @property
    def train_side(self) -> int:
        """Side of a training image from files, pixels."""
        return self.resolution or 224

    @property
    def eval_side(self) -> int:
        """Side of a held-out image from files, pixels."""
        return self.eval_resolution or round(self.train_side * 8 / 7)


class DataConfig(DataSection):
    """The data of one run: the section, completed by what was found on disk.

    Attributes:
        digest: SHA-256 that tells the images on disk from others.
        exclude_digest: SHA-256 of the names left out.
        excluded_images: how many they are.
        holdout_exclude_digest, excluded_holdout_images: the same of held-out images.
        excluded_classes: how many of a NumPy archive's highest labels only images left out have; they are no classes.
    """

    digest: str | None = None
    exclude_digest: str | None = None
    excluded_images: Annotated[int, Field(ge=0, lt=MAX_INT, strict=True)] = 0
    holdout_exclude_digest: str | None = None
    excluded_holdout_images: Annotated[int, Field(ge=0, lt=MAX_INT, strict=True)] = 0
    excluded_classes: Annotated[int, Field(ge=0, lt=MAX_INT, strict=True)] = 0

    NOT_OF_THE_RUN: ClassVar[set[str]] = {"path", "holdout_path", "exclude", "holdout_exclude", "cache", "max_corrupt",
                                          "decode_threads"}  # fmt: skip
    """Settings without a say in what a run sees: where things lie, what is borne, how fast it goes."""

    @property
    def seen(self) -> bool:
        """Whether the images have been looked at; else their sizes are what the spec states, for a plan alone."""
        return self.source == "hierarchy" or self.digest is not None

    @property
    def name(self) -> str:
        """A short name and a hash of everything but the training set's size: one name, one distribution of images."""
        settings = self.model_dump(mode="json", exclude_defaults=True, exclude={*self.NOT_OF_THE_RUN, "train_images"})
        return f"{self.source}-{_hash(canonical(settings))[:8]}"


class ModelConfig(Section):
    """The network: a variant of a family in `scalelaw.architecture`."""

    family: str = "nfnet"
    variant: str


class TrainConfig(Section):
    """One schedule.

    Attributes:
        images: training images shown, repeats and copies counted; epochs are images / training-set size.
        batch_size: images a step.
        peak_lr: learning rate at the end of warm-up.
        seed: of the initial weights and, with the run's id, of the data order.
        recipe: a key of `scalelaw.sweep.recipes.RECIPES`.
        evaluations: evenly spaced evaluations on held-out images; the last is the result.
        repeats: differently augmented copies of an image in a batch (Hoffer et al. 2019, arXiv 1901.09335); with k of
            them as many images are shown in a k-th of the passes.
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
    sam_radius: NonNegative | None = None
    sam_share: Part | None = None
    repeats: PositiveInt = 1

    @property
    def overrides(self) -> dict[str, Any]:
        """The recipe's settings that this run sets itself."""
        return {name: value for name in OVERRIDES if (value := getattr(self, name)) is not None}


class ParentConfig(Section):
    """The network that a fine-tuned run begins at, without its head.

    Attributes:
        run: id of the run that trained it, or
        weights: SHA-256 of the file that holds it.
        averaged: whether the run's averaged weights are meant.
        dedup: whether near-duplicates of the parent's images are left out.
        path: the run's folder, a path or a URI, or the file.
        core_hours, val_loss, epochs, peak_lr: of the run, its core-hours with its own parent's; None where unknown.
        data: that it was trained on; None where unknown.
    """

    run: str | None = None
    weights: str | None = None
    averaged: Annotated[bool, Field(strict=True)] = False
    dedup: Annotated[bool, Field(strict=True)] = True
    path: str
    core_hours: float | None = None
    val_loss: float | None = None
    epochs: float | None = None
    peak_lr: float | None = None
    data: DataConfig | None = None

    NOT_OF_THE_RUN: ClassVar[set[str]] = {"path", "core_hours", "val_loss", "epochs", "peak_lr", "data"}
    """What follows from the parent's id, and where its weights lie."""

    @property
    def name(self) -> str:
        """The run's id, or the start of the file's SHA-256, which is as long."""
        return self.run or str(self.weights)[:16]


class RunConfig(Section):
    """Everything that decides the outcome of a run, and nothing that does not."""

    data: DataConfig
    model: ModelConfig
    train: TrainConfig
    parent: ParentConfig | None = None

    def to_json(self) -> dict[str, Any]:
        """The configuration as JSON values, fields at their defaults left out."""
        return self.model_dump(mode="json", exclude_defaults=True)

    @property
    def canonical(self) -> str:
        """The configuration as JSON text, without fields at their defaults, places, and what is known of a parent."""
        left_out = {"data": self.data.NOT_OF_THE_RUN, "parent": ParentConfig.NOT_OF_THE_RUN}
        return canonical(self.model_dump(mode="json", exclude_defaults=True, exclude=left_out))

    @property
    def run_id(self) -> str:
        """16 hex digits: the hash of the canonical text.

        New settings must have defaults that mean the old behaviour, so that finished runs keep their ids.
        """
        return _hash(self.canonical)[:16]


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
