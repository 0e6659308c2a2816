"""A sweep's TOML file: sections, the grid that lists span, and every mistake at once."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from scalelaw import architecture, compute
from scalelaw.errors import UserError, nearest
from scalelaw.sweep.config import WARMUPS, DataSection, Section
from scalelaw.sweep.facts import with_digest
from scalelaw.sweep.mistakes import sentences
from scalelaw.sweep.resources import RaySection, ray_mistakes
from scalelaw.sweep.sections import DevicesSection, ModelSection, SweepSection, TrainSection

LENGTHS = ("epochs", "images", "core_hours")


class Grid(Section):
    """One grid of runs: the sections above with a part's keys in their place."""

    data: DataSection
    model: ModelSection
    train: TrainSection


class Spec(Section):
    """A whole sweep: its name, its grids (the file's own, then one a part), and the file that they come from."""

    sweep: SweepSection
    devices: DevicesSection
    ray: RaySection
    grids: tuple[Grid, ...]
    source: str


_GRID = ("data", "model", "train")
_SECTIONS: dict[str, type[BaseModel]] = {
    "sweep": SweepSection,
    "devices": DevicesSection,
    "ray": RaySection,
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
    ray = _validated(RaySection, raw.get("ray", {}), f"{source}: [ray]", mistakes)
    if isinstance(ray, RaySection):
        planned = devices.count if isinstance(devices, DevicesSection) else None
        mistakes += ray_mistakes(ray, planned, f"{source}: [ray]")
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
    return Spec.model_construct(sweep=sweep, devices=devices, ray=ray, grids=tuple(grids), source=source)


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
    if devices.count is not None and devices.count % devices.params:
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
