"""The sections of a sweep's TOML file and their keys."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, Field

from scalelaw.compute import DEFAULT_UTILISATION
from scalelaw.sweep.config import (
    MAX_INT,
    NonNegative,
    Part,
    Positive,
    PositiveInt,
    Precision,
    RecipeName,
    Section,
    Seed,
    Share,
)

Value = TypeVar("Value")


def _listed(value: Any) -> Any:
    """One value is a list of one."""
    return value if isinstance(value, list | tuple) else [value]


Many = Annotated[tuple[Value, ...], BeforeValidator(_listed), Field(min_length=1)]


class Around(Section):
    """A grid of learning rates: `points` rates, a `factor` apart, around a centre; an even count goes one lower."""

    around: Positive
    factor: Annotated[float, Field(gt=1, le=100, allow_inf_nan=False, strict=True)] = 2.0
    points: Annotated[int, Field(gt=0, le=99, strict=True)] = 3

    @property
    def rates(self) -> tuple[float, ...]:
        """The rates, lowest first."""
        return tuple(self.around * self.factor**k for k in range(-(self.points // 2), (self.points + 1) // 2))


AROUND = re.compile(r"around\s+(\S+?)(?:\s+by\s+factors\s+of\s+([^\s,]+))?(?:,?\s+([0-9]+)\s+points?)?")
"""`around 1.6 by factors of 2, 3 points`, its factor and points at their defaults where left out."""


def around(text: str) -> dict[str, Any] | None:
    """The table that a sentence of learning rates stands for; None where it is no such sentence."""
    match = AROUND.fullmatch(text.strip())
    try:
        return None if match is None else {
            "around": float(match[1]),
            **({"factor": float(match[2])} if match[2] else {}),
            **({"points": int(match[3])} if match[3] else {}),
        }  # fmt: skip
    except ValueError:
        return None


def _rates(value: Any) -> Any:
    table = around(value) if isinstance(value, str) else value
    return Around.model_validate(table).rates if isinstance(table, dict) else _listed(value)


Rates = Annotated[tuple[Positive, ...], BeforeValidator(_rates), Field(min_length=1)]


class SweepSection(Section):
    """[sweep]: the name (results go to results/<name>), the utilisation that core-hours assume, and what runs keep.

    Nothing here decides how a run ends, so nothing here is part of its id.

    Attributes:
        note: words for who reads the plan: the dry run prints them.
        checkpoint_minutes: wall time between two checkpoints of a run.
        checkpoints_kept: how many of them stay until the run is done.
        trace_rows: about so many rows in a run's trace, besides those of its evaluations.
        keep_final: whether a finished run keeps its weights.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    utilisation: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False, strict=True)] = DEFAULT_UTILISATION
    note: str | None = None
    checkpoint_minutes: Positive = 10.0
    checkpoints_kept: Annotated[int, Field(ge=1, le=1000, strict=True)] = 2
    trace_rows: PositiveInt = 64
    keep_final: Annotated[bool, Field(strict=True)] = True


class ModelSection(Section):
    """[model]: families and their variants."""

    family: Many[str] = ("nfnet",)
    variants: Many[str]


class TrainSection(Section):
    """[train]: every list spans the grid; exactly one of epochs, images and core_hours is the length.

    Rates are numbers, a table as `Around`, or a sentence, "around 1.6 by factors of 2, 3 points".
    With `lr_scaling` "linear" the rates are those of 256 images a step, and a run's own is rate x batch_size / 256
    (Goyal et al. 2017, arXiv 1706.02677); with "none", the default, they are the runs' own.
    """

    epochs: Many[Positive] | None = None
    images: Many[PositiveInt] | None = None
    core_hours: Many[Positive] | None = None
    peak_lr: Rates
    batch_size: Many[PositiveInt] = (64,)
    seeds: Many[Seed] = (0,)
    layout: Literal["grid", "iso"] = "grid"
    lr_scaling: Many[Literal["none", "linear"]] = ("none",)
    recipe: Many[RecipeName] = ("pretrain",)
    evaluations: Many[Annotated[int, Field(ge=1, le=1000, strict=True)]] = (4,)
    weight_decay: Many[NonNegative] | None = None
    momentum: Many[Share] | None = None
    clipping: Many[Positive] | None = None
    warmup_share: Many[Share] | None = None
    warmup_epochs: Many[NonNegative] | None = None
    warmup_steps: Many[Annotated[int, Field(ge=0, lt=MAX_INT, strict=True)]] | None = None
    label_smoothing: Many[Share] | None = None
    dropout: Many[Share] | None = None
    stochastic_depth: Many[Share] | None = None
    ema: Many[Share] | None = None
    precision: Many[Precision] | None = None
    sam_radius: Many[NonNegative] | None = None
    sam_share: Many[Part] | None = None
    repeats: Many[PositiveInt] = (1,)


class DevicesSection(Section):
    """[devices]: how a step is laid out, which moves results by rounding alone and so is no part of a run's id.

    Attributes:
        params: devices that share one copy of the parameters; the others share the batch.
        accumulate: parts into which a batch is cut, one after the other.
        remat: compute the inside of every block anew in the backward pass, for less memory.
        hardware, count: what the sweep is planned for: the memory that `--dry-run` prints, and refuses to exceed. A
            run takes all devices that its process sees; a worker of a sweep on one machine sees `count` of them.
    """

    params: PositiveInt = 1
    accumulate: PositiveInt = 1
    remat: Annotated[bool, Field(strict=True)] = False
    hardware: str | None = None
    count: PositiveInt | None = None

    @property
    def planned(self) -> int:
        """The devices that memory is planned for: `count`, or as few as `params` allows."""
        return self.params if self.count is None else self.count
