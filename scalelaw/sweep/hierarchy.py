"""What the settings of the built-in images imply, and what is wrong with them: by arithmetic, without jax."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from scalelaw.errors import UserError
from scalelaw.sweep.config import DataSection
from scalelaw.sweep.mistakes import sentences

MAX_IMAGES = 2**30
MAX_RESOLUTION = 1024
MAX_TUPLES = 2**24  # of one level
_BOUNDS = {
    "train_images": (1, MAX_IMAGES),
    "holdout_images": (1, MAX_IMAGES),
    "classes": (2, 2**16 - 1),
    "symbols": (2, 2**12),
    "levels": (1, 10),
    "patch": (1, MAX_RESOLUTION),
}
_PER_LEVEL = ("symbols", "rules", "branching", "zipf_a")


def mistakes(data: DataSection) -> list[str]:
    """Every reason why `scalelaw.train.data.hierarchy` could not make these images, as `[data] key: what; the mend`."""
    found = list(_out_of_bounds(data))
    if found:
        return found
    for name in _PER_LEVEL:
        value = getattr(data, name)
        if isinstance(value, tuple) and len(value) != data.levels:
            count = f"{len(value)} value{'s' * (len(value) != 1)} for {data.levels} level{'s' * (data.levels != 1)}"
            found.append(f"[data] {name}: {count}; give one, or one per level")
    if found:
        return found
    if data.task_seed is None and "new_levels" in data.model_fields_set:
        found.append("[data] new_levels: belongs to a second task; give its task_seed too, or leave it out")
    if data.new_levels > data.levels:
        found.append(
            f"[data] new_levels: a task of {data.levels} levels has no {data.new_levels} to draw anew; lower it"
        )
    if data.augment in ("flip", "crop-flip"):
        found.append(f"[data] augment: {data.augment!r} changes what a built-in image says; use 'none' or 'noise'")
    if data.augment == "noise" and not data.noise:
        found.append("[data] augment: there is no noise to draw anew; raise noise, or leave augment out")
    parents = data.classes
    for level, (symbols, rules, branching) in enumerate(
        zip(*(per_level(data, name) for name in ("symbols", "rules", "branching")), strict=True)
    ):
        room = min(symbols ** (4 if branching == "2x2" else 2), MAX_TUPLES)
        if parents * rules > room:
            mend = f"use at most {room // parents} rules" if room >= parents else "use more symbols or fewer classes"
            found.append(f"[data] rules: level {level + 1} needs {parents} x {rules} distinct tuples of symbols, of "
                         f"which there are {room}; {mend}")  # fmt: skip
        parents = symbols
    height, width = _pixels(data)
    if height != width:
        found.append(f'[data] branching: images of {height} x {width} pixels are not square; use an even number of '
                     'levels with "2", or "2x2"')  # fmt: skip
    if max(height, width) > MAX_RESOLUTION:
        found.append(f"[data] levels: images of {height} x {width} pixels; use fewer levels or a smaller patch, for at "
                     f"most {MAX_RESOLUTION}")  # fmt: skip
    return found


def check(**settings: Any) -> DataSection:
    """The settings of built-in images, checked.

    Args:
        settings: keys of [data] by name, without `source`.

    Raises:
        UserError: one line for each setting that cannot be.
    """
    try:
        data = DataSection(source="hierarchy", **settings)
    except ValidationError as error:
        raise UserError(*sentences(DataSection, settings, error, "[data]")) from error
    if found := mistakes(data):
        raise UserError(*found)
    return data


def resolution(data: DataSection) -> int:
    """Side of an image in pixels: 2x2 branching doubles it, two levels of branching 2 do."""
    return _pixels(data)[0]


def _out_of_bounds(data: DataSection) -> Iterator[str]:
    if data.train_images is None:
        yield "[data] train_images: is missing; the built-in images have no end, say how many to use"
    if data.path is not None:
        yield "[data] path: the built-in images are generated; leave path out, or use source = 'npz'"
    for name, (least, most) in _BOUNDS.items():
        given = getattr(data, name)
        for value in given if isinstance(given, tuple) else (given,):
            if value is not None and not least <= value <= most:
                yield f"[data] {name}: must be a whole number from {least} to {most}, not {value}"


def per_level(data: DataSection, name: str) -> tuple[Any, ...]:
    """One value per level, from one for all or one for each."""
    value = getattr(data, name)
    return value if isinstance(value, tuple) else (value,) * data.levels


def _pixels(data: DataSection) -> tuple[int, int]:
    """Height and width: levels of branching 2 put children side by side and one above the other in turn."""
    height = width = data.patch
    across = True
    for branching in per_level(data, "branching"):
        if branching == "2x2":
            height, width = 2 * height, 2 * width
        else:
            height, width = (height, 2 * width) if across else (2 * height, width)
            across = not across
    return height, width
