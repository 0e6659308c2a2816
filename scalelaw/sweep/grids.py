"""From a spec's layers to grids: what a part, a zip or another file changes, and the lists of [data].

A grid is a value for every setting, where [model] and [train] may hold lists, whose product it is. Whatever else varies
makes grids of its own, one after the other.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from scalelaw.sweep.layers import Layer, Located

SECTIONS = ("data", "model", "train", "parent")
LENGTHS = ("epochs", "images", "core_hours")
STARTS = ("sweep", "results", "run", "weights")
"""Settings of [parent] that each say where runs begin."""
LISTS = ("symbols", "rules", "branching", "zipf_a", "crop_area", "crop_aspect", "pixel_mean", "pixel_std")
"""Settings of [data] that are lists themselves; a list of lists spans a grid."""
MOST_GRIDS = 10_000

Key = tuple[str, str]
"""Section and name: ("train", "epochs")."""


@dataclass
class Settings:
    """The settings of one grid, and those of them that vary together.

    Attributes:
        plain: every setting's value.
        zips: groups of settings, each with a list of equal length.
    """

    plain: dict[Key, Located] = field(default_factory=dict)
    zips: list[dict[Key, Located]] = field(default_factory=list)

    def changed(self, plain: dict[Key, Located], zips: list[dict[Key, Located]]) -> Settings:
        """With these in the place of those that are here.

        A length replaces the length, whatever its unit, a start the start, and another `data.source` all of [data].
        What a zip here loses to them it loses alone: its other settings go on varying together.
        """
        keys = {*plain, *itertools.chain(*zips)}
        source = plain.get(("data", "source"))
        mine = self.plain.get(("data", "source"))
        another = source is not None and (mine is None or source.value != mine.value)
        length = any(("train", name) in keys for name in LENGTHS)
        start = any(("parent", name) in keys for name in STARTS)

        def kept(key: Key) -> bool:
            section, name = key
            return key not in keys and not (another and section == "data") and not (
                length and section == "train" and name in LENGTHS
            ) and not (start and section == "parent" and name in STARTS)  # fmt: skip

        left = [{key: value for key, value in group.items() if kept(key)} for group in self.zips]
        return Settings(
            {**{key: value for key, value in self.plain.items() if kept(key)}, **plain},
            [group for group in (*left, *zips) if group],
        )

    def grids(self) -> Iterator[dict[Key, Located]]:
        """A value for every setting of each grid: rows of zips, then the values of [data]'s lists."""
        for rows in itertools.product(*(range(len(next(iter(group.values())).value)) for group in self.zips)):
            found = dict(self.plain)
            for group, row in zip(self.zips, rows, strict=True):
                found.update({key: values.one(row) for key, values in group.items()})
            spanned = [key for key, given in found.items() if spans(key, given.value)]
            for picks in itertools.product(*(range(len(found[key].value)) for key in spanned)):
                one = {key: found[key].one(pick) for key, pick in zip(spanned, picks, strict=True)}
                yield {**found, **one}


def spans(key: Key, value: Any) -> bool:
    """Whether a value of [data] is a list of values rather than one."""
    section, name = key
    if section != "data" or not isinstance(value, list) or not value:
        return False
    return name not in LISTS or any(isinstance(each, list) for each in value)


def settings_of(layer: Layer, inside: tuple[str | int, ...] = ()) -> dict[Key, Located]:
    """The settings of a file's sections, or of a part's or a table's within it."""
    table = layer.table(inside)
    return {
        (section, name): Located(value, layer, (*inside, section, name))
        for section in SECTIONS
        if isinstance(table.get(section), dict)
        for name, value in table[section].items()
    }


def zip_mistakes(group: dict[Key, Located]) -> list[tuple[str, str]]:
    """What is wrong with settings that are to vary together: places and sentences."""
    found = []
    for (section, name), given in group.items():
        if not isinstance(given.value, list) or not given.value:
            found.append((given.place(), f"zip: {section}.{name} must be a list, a value for each run or grid"))
    if found:
        return found
    lengths = {f"{section}.{name}": len(given.value) for (section, name), given in group.items()}
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"{name} has {count}" for name, count in lengths.items())
        last = list(group.values())[-1]
        return [(last.place(), f"zip: settings that vary together need lists of equal length; {said} values")]
    return []


def twice(plain: dict[Key, Located], zips: Sequence[dict[Key, Located]]) -> list[tuple[str, str]]:
    """Settings that are given more than once at the same level."""
    found, seen = [], dict(plain)
    for group in zips:
        for key, given in group.items():
            if key in seen:
                where = "in a zip above" if key not in plain else f"in [{key[0]}]"
                found.append((given.place(), f"zip: {key[0]}.{key[1]} is given {where} too; keep one"))
        seen |= group
    return found
