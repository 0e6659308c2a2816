"""A sweep's TOML file: sections, the grids that it spans, and every mistake at once, each with its line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from scalelaw.errors import UserError, nearest
from scalelaw.sweep import rules
from scalelaw.sweep.checking import Grid, Grids, Mistakes, key_of, place_of
from scalelaw.sweep.grids import SECTIONS, Settings, settings_of, twice, zip_mistakes
from scalelaw.sweep.layers import Layer, read_layers
from scalelaw.sweep.matching import Match, is_priority, read
from scalelaw.sweep.mistakes import located
from scalelaw.sweep.parents import section_of
from scalelaw.sweep.resources import RaySection, ray_mistakes
from scalelaw.sweep.sections import DevicesSection, SweepSection


@dataclass(frozen=True)
class Spec:
    """A whole sweep.

    Attributes:
        grids: the file's own, then those of its parts.
        matches: the tables that leave runs out or put them first.
        source: the file.
        layers: its text and those of the files that it extends, the outermost first.
        remarks: one sentence for every set of runs that cannot be parents and is left out.
        start: where runs begin in place of what the files say; None for what they say.
    """

    sweep: SweepSection
    devices: DevicesSection
    ray: RaySection
    grids: tuple[Grid, ...]
    matches: tuple[Match, ...]
    source: str
    layers: tuple[Layer, ...]
    remarks: tuple[str, ...] = ()
    start: str | None = None

    def place(self, *path: str | int) -> str:
        """FILE:LINE of a key."""
        return place_of(self.layers, *path)


_WHOLE: dict[str, type[BaseModel]] = {"sweep": SweepSection, "devices": DevicesSection, "ray": RaySection}
"""Sections of the whole sweep, which parts do not change."""
_NEEDED = ("sweep", "data", "model", "train")
_OF_PARENTS = ("model", "train")  # what a spec with [parent] need not have
_TABLES = ("exclude", "first")
_FILE = (*_WHOLE, *SECTIONS, "part", "zip", *_TABLES, "extends", "priority")
_PART = (*SECTIONS, "zip", *_TABLES, "priority")
_LISTS = ("part", "zip", *_TABLES)


def read_spec(path: Path, *, planning: bool = False, start: str | None = None) -> Spec:
    """Reads and checks a sweep's TOML file and the files that it extends.

    `extends = "base.toml"` (relative to the file) takes another spec over. Sections of the upper file, `[[part]]`s and
    `[[zip]]`s (settings that vary together, row by row) are laid over what is there: keys win, a length replaces the
    length, another `data.source` all of [data]. Parts add to the file's sections, not to each other. `[[exclude]]`
    leaves runs out, `[[first]]` and a part's `priority` put them before others. With [parent] runs begin at others'
    weights. A relative `data.path` is taken from
    the folder one is in, and the images there are looked at.

    Args:
        planning: images on disk need not be there where [data] states their number and classes, nor need runs be
            trained that others begin at.
        start: where all runs begin, in place of what [parent] says: a run's folder, a results folder, a spec or a file.

    Raises:
        UserError: with one line for every mistake, FILE:LINE first.
    """
    layers = read_layers(path)
    if start is not None:
        layers = [replace(layer, raw=_without_parents(layer.raw)) for layer in layers]
        layers[-1] = replace(layers[-1], raw={**layers[-1].raw, "parent": section_of(start)})
    with _reading(path):
        return replace(_check(layers, planning), start=start)


_ABOVE: ContextVar[tuple[Path, ...]] = ContextVar("specs whose parents are being looked for", default=())


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """A spec whose parents may be another one's runs, which is then read within.

    Raises:
        UserError: when that leads back to a spec that is being read.
    """
    above = _ABOVE.get()
    again = next((k for k, one in enumerate(above) if one.resolve() == path.resolve()), None)
    if again is not None:
        circle = " -> ".join(map(str, (*above[again:], path)))
        raise UserError(f"[parent] sweep: leads back to where it began ({circle}); name another spec")
    within = _ABOVE.set((*above, path))
    try:
        yield
    finally:
        _ABOVE.reset(within)


def _without_parents(raw: Mapping[str, Any]) -> dict[str, Any]:
    """A file, a part or a zip without what it says of parents; every table keeps its place."""
    kept = {key: value for key, value in raw.items() if key != "parent"}
    return kept | {
        key: [_without_parents(table) if isinstance(table, dict) else table for table in kept[key]]
        for key in ("part", "zip")
        if isinstance(kept.get(key), list)
    }


def check_spec(raw: dict[str, Any], source: str) -> Spec:
    """Checks a parsed spec of one file; as `read_spec`, without lines."""
    if "extends" in raw:
        raise UserError(f"{source}: extends needs a file, which its name is relative to; leave it out")
    return _check([Layer(raw, source)], planning=False)


def _check(layers: list[Layer], planning: bool) -> Spec:
    said = Mistakes()
    for layer in layers:
        _check_keys(layer, (), _FILE, said)
    own = layers[-1]
    starts = any("parent" in layer.raw for layer in layers)
    for section in _NEEDED:
        if starts and section in _OF_PARENTS:
            continue
        zips = [each for layer in layers for each in _tables(layer.raw, "zip")]
        zipped = any(isinstance(each, dict) and section in each for each in zips)
        if not zipped and all(section not in layer.raw for layer in layers):
            said.add(own.place(), f"section [{section}] is missing")
    whole = {name: _whole_section(layers, name, kind, said) for name, kind in _WHOLE.items()}
    sweep, devices, ray = whole["sweep"], whole["devices"], whole["ray"]
    if isinstance(devices, DevicesSection):
        said.extend(lambda text: place_of(layers, "devices", *key_of(text)[1:]), rules.devices_mistakes(devices))
    if isinstance(ray, RaySection):
        count = devices.count if isinstance(devices, DevicesSection) else None
        said.extend(lambda text: place_of(layers, "ray", *key_of(text)[1:]), ray_mistakes(ray, count, "[ray]"))
    base = Settings()
    matches: list[Match] = []
    for layer in layers:
        base = _changed(base, layer, (), said)
        matches += _matches(layer, (), None, layer is not own, said)
    checker = Grids(said, planning)
    given = [layer.raw["priority"] for layer in layers if is_priority(layer.raw.get("priority"))]
    grids = checker.check(base, 0, given[-1] if given else 0, layers)
    part = 0
    for layer in layers:
        for index, table in enumerate(_tables(layer.raw, "part")):
            part += 1
            inside = ("part", index)
            if not isinstance(table, dict):
                continue
            said.words = f"part {index + 1}: "
            _check_keys(layer, inside, _PART, said)
            priority = table.get("priority", 0)
            settings = _changed(base, layer, inside, said)
            grids += checker.check(settings, part, priority if is_priority(priority) else 0, [*layers, layer], inside)
            matches += _matches(layer, inside, part, layer is not own, said)
            said.words = ""
    if said.lines:
        raise UserError(*said.lines)
    assert isinstance(sweep, SweepSection)
    assert isinstance(devices, DevicesSection)
    assert isinstance(ray, RaySection)
    return Spec(sweep, devices, ray, tuple(grids), tuple(matches), own.source, tuple(layers),
                tuple(dict.fromkeys(checker.remarks)))  # fmt: skip


def _tables(raw: Mapping[str, Any], key: str) -> list[Any]:
    value = raw.get(key, [])
    return value if isinstance(value, list) else []


def _check_keys(layer: Layer, inside: tuple[str | int, ...], allowed: Sequence[str], said: Mistakes) -> None:
    """Sections and tables: known, and written as such."""
    for key, value in layer.table(inside).items():
        place = layer.place(*inside, key)
        if key not in allowed:
            known = ", ".join(allowed)
            said.add(place, f"unknown section [{key}]{nearest(key, list(allowed))} (known: {known})")
        elif key in _LISTS:
            if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
                what = {"part": "further grid", "zip": "group of settings that vary together"}.get(key, "kind of run")
                said.add(place, f"{key} must be written [[{key}]], once for each {what}")
        elif key == "priority":
            if not is_priority(value):
                said.add(place, f"priority: must be a whole number, not {value!r}")
        elif key != "extends" and not isinstance(value, dict):
            said.add(place, f"{key} must be a section, [{key}] with keys below it")


def _whole_section(layers: Sequence[Layer], name: str, kind: type[BaseModel], said: Mistakes) -> BaseModel | None:
    """A section of the whole sweep, keys of a file before those that it extends."""
    if not any(isinstance(layer.raw.get(name), dict) for layer in layers):
        return None if name in _NEEDED or any(name in layer.raw for layer in layers) else kind()
    values: dict[str, Any] = {}
    for layer in layers:
        section = layer.raw.get(name)
        if name == "sweep":  # these are a file's own
            values = {key: value for key, value in values.items() if key not in ("name", "note")}
        values |= section if isinstance(section, dict) else {}
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        for loc, text in located(kind, values, error, f"[{name}]"):
            said.add(place_of(layers, name, *loc) if loc and loc[0] in values else layers[-1].place(name), text)
        return None


def _changed(base: Settings, layer: Layer, inside: tuple[str | int, ...], said: Mistakes) -> Settings:
    """The settings with what a file's sections and zips, or a part's, put in their place."""
    plain, zips = settings_of(layer, inside), []
    for index, each in enumerate(_tables(layer.table(inside), "zip")):
        if isinstance(each, dict):
            for key in each:
                if key not in SECTIONS or not isinstance(each[key], dict):
                    said.add(layer.place(*inside, "zip", index, key),
                             f"zip: {key} is no section with keys; write model.variants = [...]")  # fmt: skip
            group = settings_of(layer, (*inside, "zip", index))
            found = zip_mistakes(group)
            said_before = len(said.lines)
            for place, text in found:
                said.add(place, text)
            if group and not found and said_before == len(said.lines):
                zips.append(group)
    for place, text in twice(plain, zips):
        said.add(place, text)
    return base.changed(plain, zips)


def _matches(
    layer: Layer, inside: tuple[str | int, ...], part: int | None, inherited: bool, said: Mistakes
) -> list[Match]:
    found = []
    for word in _TABLES:
        for index in range(len(_tables(layer.table(inside), word))):
            match, mistakes = read(layer, (*inside, word, index), word, part, inherited)
            for place, text in mistakes:
                said.add(place, text)
            found += [] if match is None else [match]
    return found
