"""A sweep's TOML file: sections, the grid that lists span, and every mistake at once."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, Field, ValidationError

from scalelaw import architecture
from scalelaw.compute import DEFAULT_UTILISATION
from scalelaw.errors import UserError, nearest
from scalelaw.sweep.config import DataSection, NonNegative, Positive, PositiveInt, Section, Seed, Share

Value = TypeVar("Value")


def _listed(value: Any) -> Any:
    """One value is a list of one."""
    return value if isinstance(value, list | tuple) else [value]


Many = Annotated[tuple[Value, ...], BeforeValidator(_listed), Field(min_length=1)]
LENGTHS = ("epochs", "images", "core_hours")


class Around(Section):
    """A grid of learning rates: `points` rates, a `factor` apart, around a centre; an even count goes one lower."""

    around: Positive
    factor: Annotated[float, Field(gt=1, allow_inf_nan=False)] = 2.0
    points: PositiveInt = 3

    @property
    def rates(self) -> tuple[float, ...]:
        """The rates, lowest first."""
        return tuple(self.around * self.factor**k for k in range(-(self.points // 2), (self.points + 1) // 2))


def _rates(value: Any) -> Any:
    return Around.model_validate(value).rates if isinstance(value, dict) else _listed(value)


class SweepSection(Section):
    """[sweep]: the name (results go to results/<name>) and the utilisation that core-hours assume."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    utilisation: Annotated[float, Field(gt=0, le=1)] = DEFAULT_UTILISATION


class ModelSection(Section):
    """[model]: a family and its variants."""

    family: str = "nfnet"
    variants: Many[str]


class TrainSection(Section):
    """[train]: every list spans the grid; exactly one of epochs, images and core_hours is the length."""

    epochs: Many[Positive] | None = None
    images: Many[PositiveInt] | None = None
    core_hours: Many[Positive] | None = None
    peak_lr: Annotated[tuple[Positive, ...], BeforeValidator(_rates), Field(min_length=1)]
    batch_size: Many[PositiveInt] = (64,)
    seeds: Many[Seed] = (0,)
    layout: Literal["grid", "iso"] = "grid"
    recipe: Many[Literal["pretrain"]] = ("pretrain",)
    evaluations: Annotated[int, Field(ge=1, le=1000, strict=True)] = 4
    weight_decay: Many[NonNegative] | None = None
    momentum: Many[Share] | None = None
    clipping: Many[Positive] | None = None
    warmup_share: Many[Share] | None = None


class Grid(Section):
    """One grid of runs: the sections above with a part's keys in their place."""

    data: DataSection
    model: ModelSection
    train: TrainSection


class Spec(Section):
    """A whole sweep: its name and its grids."""

    sweep: SweepSection
    grids: tuple[Grid, ...]


_SECTIONS: dict[str, type[BaseModel]] = {
    "sweep": SweepSection,
    "data": DataSection,
    "model": ModelSection,
    "train": TrainSection,
}

_PER_LEVEL = {
    "rules": "a whole number above 0",
    "branching": '"2" or "2x2"',
    "zipf_a": 'a number of at least 0 or "uniform"',
}


def read_spec(path: Path) -> Spec:
    """Reads and checks a sweep's TOML file.

    A relative `data.path` is taken from the folder one is in. Parts (`[[part]]`) may set keys of data, model and train.

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
    mistakes: list[str] = []
    parts = raw.get("part", [])
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        raise UserError(f"{source}: part must be written [[part]], once for each further grid")
    for place, sections in [("", raw), *((f"part {i + 1}: ", part) for i, part in enumerate(parts))]:
        allowed = [*_SECTIONS, "part"] if place == "" else ["data", "model", "train"]
        for key, value in sections.items():
            if key not in allowed:
                mistakes.append(f"{source}: {place}unknown section [{key}]{nearest(key, allowed)}")
            elif key != "part" and not isinstance(value, dict):
                mistakes.append(f"{source}: {place}{key} must be a section, [{key}] with keys below it")
    for key in ("sweep", "data", "model", "train"):
        if key not in raw:
            mistakes.append(f"{source}: section [{key}] is missing")
    if mistakes:
        raise UserError(*mistakes)
    sweep = _validated(SweepSection, raw["sweep"], f"{source}: [sweep]", mistakes)
    base = {key: raw[key] for key in ("data", "model", "train")}
    merged = [("", base)] + [(f"part {i + 1}: ", _with_part(base, part)) for i, part in enumerate(parts)]
    grids: list[Grid] = []
    for place, sections in merged:
        found: list[str] = []
        checked = {
            key: _validated(_SECTIONS[key], sections[key], f"{source}: {place}[{key}]", found)
            for key in ("data", "model", "train")
        }
        if isinstance(checked["model"], ModelSection):
            found += _model_mistakes(checked["model"], f"{source}: {place}[model]")
        if isinstance(checked["train"], TrainSection):
            found += _length_mistakes(checked["train"], f"{source}: {place}[train]")
        bare = {line.replace(place, "", 1) for line in found} if place else set()
        mistakes += found if not bare & set(mistakes) else [x for x in found if x.replace(place, "", 1) not in mistakes]
        if not found:
            grids.append(Grid.model_validate(checked, strict=False))
    if mistakes or sweep is None:
        raise UserError(*mistakes)
    return Spec.model_construct(sweep=sweep, grids=tuple(grids))  # checked above


def _with_part(base: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    """The sections with a part's keys in their place; a part's length replaces the one above."""
    merged = {key: {**section, **part.get(key, {})} for key, section in base.items()}
    given = [length for length in LENGTHS if length in part.get("train", {})]
    if given:
        for length in LENGTHS:
            if length not in given:
                merged["train"].pop(length, None)
    return merged


def _model_mistakes(model: ModelSection, place: str) -> list[str]:
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
        said = f"{' and '.join(given)} are given" if given else "none is given"
        return [f"{place} exactly one of epochs, images and core_hours is the length; {said}"]
    if train.layout == "iso" and given != ["core_hours"]:
        return [f"{place} layout = 'iso' needs core_hours = [...], the equal-compute budgets; {given[0]} is given"]
    return []


def _validated(kind: type[BaseModel], value: Any, place: str, mistakes: list[str]) -> BaseModel | None:
    """The checked section, or None with its mistakes added."""
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        mistakes += dict.fromkeys(_sentence(kind, item, place) for item in error.errors(include_url=False))
        return None


def _sentence(kind: type[BaseModel], item: Any, place: str) -> str:
    """One line for one of pydantic's errors: the key, what is wrong, the mend."""
    key, *rest = [str(part) for part in item["loc"]] or ["section"]
    if key in _PER_LEVEL:
        return f"{place} {key}: must be {_PER_LEVEL[key]}, or a list of one per level"
    numbers = [part for part in rest if part.isdigit()]
    where = f"{place} {key}" + (f", value {int(numbers[0]) + 1}" if numbers else "")
    kinds: dict[str, str] = {
        "missing": "is missing",
        "too_short": "is an empty list, so the grid is empty; give at least one value",
        "greater_than": "must be greater than {gt}",
        "greater_than_equal": "must be at least {ge}",
        "less_than": "must be below {lt}",
        "less_than_equal": "must be at most {le}",
        "int_type": "must be a whole number",
        "int_parsing": "must be a whole number",
        "int_from_float": "must be a whole number",
        "float_type": "must be a number",
        "float_parsing": "must be a number",
        "finite_number": "must be finite",
        "string_type": "must be text in quotes",
        "literal_error": "must be {expected}",
        "string_pattern_mismatch": "may hold letters, digits, '.', '_' and '-' only",
    }
    if item["type"] == "extra_forbidden":
        if key in Around.model_fields and kind is TrainSection:
            return f"{place} {key}: unknown key; it belongs inside peak_lr = {{ around = 1.6, factor = 2, points = 3 }}"
        unknown = rest[-1] if rest and not rest[-1].isdigit() else key
        known = list(Around.model_fields if unknown != key else kind.model_fields)
        return f"{place} {unknown}: unknown key{nearest(unknown, known)} (known: {', '.join(known)})"
    template = kinds.get(item["type"])
    text = template.format(**item.get("ctx", {})) if template else item["msg"]
    return f"{where}: {text}"
