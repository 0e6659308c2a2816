"""A sweep's TOML file: sections, the grid that lists span, and every mistake at once."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, Field, ValidationError

from scalelaw import architecture, compute
from scalelaw.compute import DEFAULT_UTILISATION
from scalelaw.errors import UserError, nearest
from scalelaw.sweep.config import (
    MAX_INT,
    WARMUPS,
    DataSection,
    NonNegative,
    Positive,
    PositiveInt,
    Precision,
    RecipeName,
    Section,
    Seed,
    Share,
)
from scalelaw.sweep.facts import with_digest
from scalelaw.sweep.mistakes import sentences

Value = TypeVar("Value")


def _listed(value: Any) -> Any:
    """One value is a list of one."""
    return value if isinstance(value, list | tuple) else [value]


Many = Annotated[tuple[Value, ...], BeforeValidator(_listed), Field(min_length=1)]
LENGTHS = ("epochs", "images", "core_hours")


class Around(Section):
    """A grid of learning rates: `points` rates, a `factor` apart, around a centre; an even count goes one lower."""

    around: Positive
    factor: Annotated[float, Field(gt=1, le=100, allow_inf_nan=False, strict=True)] = 2.0
    points: Annotated[int, Field(gt=0, le=99, strict=True)] = 3

    @property
    def rates(self) -> tuple[float, ...]:
        """The rates, lowest first."""
        return tuple(self.around * self.factor**k for k in range(-(self.points // 2), (self.points + 1) // 2))


def _rates(value: Any) -> Any:
    return Around.model_validate(value).rates if isinstance(value, dict) else _listed(value)


class SweepSection(Section):
    """[sweep]: the name (results go to results/<name>), the utilisation that core-hours assume, and what runs keep.

    Nothing here decides how a run ends, so nothing here is part of its id.

    Attributes:
        checkpoint_minutes: wall time between two checkpoints of a run.
        checkpoints_kept: how many of them stay until the run is done.
        trace_rows: about so many rows in a run's trace, besides those of its evaluations.
        keep_final: whether a finished run keeps its weights.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    utilisation: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False, strict=True)] = DEFAULT_UTILISATION
    checkpoint_minutes: Positive = 10.0
    checkpoints_kept: Annotated[int, Field(ge=1, le=1000, strict=True)] = 2
    trace_rows: PositiveInt = 64
    keep_final: Annotated[bool, Field(strict=True)] = True


class ModelSection(Section):
    """[model]: a family and its variants."""

    family: str = "nfnet"
    variants: Many[str]


class TrainSection(Section):
    """[train]: every list spans the grid; exactly one of epochs, images and core_hours is the length.

    With `lr_scaling` "linear" the rates are those of 256 images a step, and a run's own is rate x batch_size / 256
    (Goyal et al. 2017, arXiv 1706.02677); with "none", the default, they are the runs' own.
    """

    epochs: Many[Positive] | None = None
    images: Many[PositiveInt] | None = None
    core_hours: Many[Positive] | None = None
    peak_lr: Annotated[tuple[Positive, ...], BeforeValidator(_rates), Field(min_length=1)]
    batch_size: Many[PositiveInt] = (64,)
    seeds: Many[Seed] = (0,)
    layout: Literal["grid", "iso"] = "grid"
    lr_scaling: Literal["none", "linear"] = "none"
    recipe: Many[RecipeName] = ("pretrain",)
    evaluations: Annotated[int, Field(ge=1, le=1000, strict=True)] = 4
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


class DevicesSection(Section):
    """[devices]: how a step is laid out, which moves results by rounding alone and so is no part of a run's id.

    Attributes:
        params: devices that share one copy of the parameters; the others share the batch.
        accumulate: parts into which a batch is cut, one after the other.
        remat: compute the inside of every block anew in the backward pass, for less memory.
        hardware, count: what the sweep is planned for: the memory that `--dry-run` prints, and refuses to exceed.
    """

    params: PositiveInt = 1
    accumulate: PositiveInt = 1
    remat: Annotated[bool, Field(strict=True)] = False
    hardware: str | None = None
    count: PositiveInt = 1


class Grid(Section):
    """One grid of runs: the sections above with a part's keys in their place."""

    data: DataSection
    model: ModelSection
    train: TrainSection


class Spec(Section):
    """A whole sweep: its name, its grids (the file's own, then one a part), and the file that they come from."""

    sweep: SweepSection
    devices: DevicesSection
    grids: tuple[Grid, ...]
    source: str


_GRID = ("data", "model", "train")
_SECTIONS: dict[str, type[BaseModel]] = {
    "sweep": SweepSection,
    "devices": DevicesSection,
    "data": DataSection,
    "model": ModelSection,
    "train": TrainSection,
}


def read_spec(path: Path) -> Spec:
    """Reads and checks a sweep's TOML file.

    A relative `data.path` is taken from the folder one is in, and the archive there is read. Parts (`[[part]]`) may set
    keys of data, model and train.

    Raises:
        UserError: with one line for every mistake in the file.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); scalelaw init writes example specs") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: is not TOML: {error}") from error
    return check_spec(raw, str(path))


def check_spec(raw: dict[str, Any], source: str) -> Spec:
    """Checks a parsed spec; as `read_spec`."""
    parts = raw.get("part", [])
    mistakes = _section_mistakes(raw, source, [*_SECTIONS, "part"])
    mistakes += [f"{source}: section [{key}] is missing" for key in ("sweep", *_GRID) if key not in raw]
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        mistakes.append(f"{source}: part must be written [[part]], once for each further grid")
        parts = []
    sweep = _validated(SweepSection, raw.get("sweep"), f"{source}: [sweep]", mistakes)
    devices = _validated(DevicesSection, raw.get("devices", {}), f"{source}: [devices]", mistakes)
    if isinstance(devices, DevicesSection):
        mistakes += _devices_mistakes(devices, f"{source}: [devices]")
    base = {key: raw[key] for key in _GRID if isinstance(raw.get(key), dict)}
    grids: list[Grid] = []
    for index, part in enumerate([{}, *parts]):
        place = place_of_grid(source, index)
        if index:
            mistakes += _section_mistakes(part, place, _GRID)
        sections = _with_part(base, part)
        found: list[str] = []
        checked = {key: _validated(_SECTIONS[key], sections.get(key), f"{place}: [{key}]", found) for key in _GRID}
        if isinstance(checked["data"], DataSection):
            found += _data_mistakes(checked["data"], place)
        if isinstance(checked["model"], ModelSection):
            found += _model_mistakes(checked["model"], f"{place}: [model]")
        if isinstance(checked["train"], TrainSection):
            found += _length_mistakes(checked["train"], f"{place}: [train]")
        # What a part takes over from above is said above.
        mistakes += [line for line in found if line.replace(place, source, 1) not in mistakes]
        if not found and None not in checked.values():
            grids.append(Grid.model_validate(checked))
    if mistakes or sweep is None:
        raise UserError(*mistakes)
    return Spec.model_construct(sweep=sweep, devices=devices, grids=tuple(grids), source=source)  # checked above


def place_of_grid(source: str, index: int) -> str:
    """Where the grid stands in the file: grid 0 is the file's own, the others are its parts."""
    return f"{source}: part {index}" if index else source


def _section_mistakes(sections: dict[str, Any], place: str, allowed: Sequence[str]) -> list[str]:
    found = []
    for key, value in sections.items():
        if key not in allowed:
            found.append(f"{place}: unknown section [{key}]{nearest(key, list(allowed))} (known: {', '.join(allowed)})")
        elif key != "part" and not isinstance(value, dict):
            found.append(f"{place}: {key} must be a section, [{key}] with keys below it")
    return found


def _with_part(base: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    """The sections with a part's keys in their place.

    A part's length replaces the one above, and a part with a `data.source` of its own takes over nothing of [data].
    """
    changes = {key: part[key] for key in _GRID if isinstance(part.get(key), dict)}
    if changes.get("data", {}).get("source") not in (None, base.get("data", {}).get("source")):
        base = {**base, "data": {}}
    merged = {key: {**section, **changes.get(key, {})} for key, section in base.items()}
    if "train" in merged and any(length in changes.get("train", {}) for length in LENGTHS):
        merged["train"] = {
            key: value for key, value in merged["train"].items() if key not in LENGTHS or key in changes["train"]
        }
    return merged


def _data_mistakes(data: DataSection, place: str) -> list[str]:
    try:
        with_digest(data)
    except UserError as error:
        return [f"{place}: {line}" for line in error.messages]
    return []


def _model_mistakes(model: ModelSection, place: str) -> list[str]:
    if model.family not in architecture.FAMILIES:
        known = list(architecture.FAMILIES)
        return [f"{place} family: unknown {model.family!r}{nearest(model.family, known)} (known: {', '.join(known)})"]
    found = []
    for name in model.variants:
        try:
            architecture.variant(name, model.family)
        except UserError as error:
            found += [f"{place} variants: {line}" for line in error.messages]
    return found


def _length_mistakes(train: TrainSection, place: str) -> list[str]:
    given = [length for length in LENGTHS if getattr(train, length) is not None]
    if len(given) != 1:
        said = f"{' and '.join(given)} are given; keep one" if given else "none is given; add one"
        return [f"{place} exactly one of epochs, images and core_hours is the length; {said}"]
    warmups = [name for name in WARMUPS if getattr(train, name) is not None]
    if len(warmups) > 1:
        return [f"{place} {' and '.join(warmups)} are given; keep one"]
    if train.layout == "iso" and given != ["core_hours"]:
        return [f"{place} layout: 'iso' needs core_hours = [...], the equal-compute budgets, in place of {given[0]}"]
    return []


def _devices_mistakes(devices: DevicesSection, place: str) -> list[str]:
    found = []
    if devices.count % devices.params:
        found.append(f"{place} params: {devices.params} does not divide the {devices.count} devices of count")
    if devices.hardware is not None:
        try:
            compute.hardware(devices.hardware)
        except UserError as error:
            found += [f"{place} hardware: {line}" for line in error.messages]
    return found


def _validated(kind: type[BaseModel], value: Any, place: str, mistakes: list[str]) -> BaseModel | None:
    """The checked section, or None: with its mistakes added, or where there is no such section."""
    if not isinstance(value, dict):
        return None
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        mistakes += sentences(kind, value, error, place)
        return None
