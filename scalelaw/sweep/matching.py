"""[[exclude]] and [[first]]: tables of settings that runs match, to leave them out or to train them first."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scalelaw.errors import nearest
from scalelaw.sweep.config import DataSection
from scalelaw.sweep.grids import LISTS, SECTIONS, Key, settings_of
from scalelaw.sweep.layers import Layer, Located
from scalelaw.sweep.sections import Around, ModelSection, TrainSection, around

_KNOWN = {
    "data": [*DataSection.model_fields],
    "model": [*ModelSection.model_fields],
    "train": [name for name in TrainSection.model_fields if name != "layout"],
    "parent": ["run", "averaged"],
}
_TOLERANCE = 1e-9  # relative: rates and lengths are products of what the spec says


@dataclass(frozen=True)
class Match:
    """Runs whose every named setting has one of the named values.

    Attributes:
        word: of the table: exclude or first.
        values: setting -> values, each with where it stands.
        table: where the table itself stands.
        part: the part whose runs alone are meant; None for the whole sweep's.
        inherited: whether it stands in a file that the spec extends; there it may well match nothing.
        priority: what a [[first]] gives.
    """

    word: str
    values: Mapping[Key, tuple[Located, ...]]
    table: Located
    part: int | None
    inherited: bool
    priority: int = 1

    def takes(self, run: Mapping[Key, Any]) -> bool:
        """Whether a run with these settings is meant."""
        return all(any(same(each.value, run[key]) for each in given) for key, given in self.values.items())

    def mistakes(self, runs: Sequence[Mapping[Key, Any]]) -> list[str]:
        """Values that no run has, or that no run has together."""
        if self.inherited:
            return []
        said = [
            f"{each.place()}: {self.word}: no run has {section}.{name} = {_toml(each.value)}; mend it or leave it out"
            for (section, name), given in self.values.items()
            for each in given
            if not any(same(each.value, run[section, name]) for run in runs)
        ]
        if said or any(map(self.takes, runs)):
            return said
        return [f"{self.table.place()}: {self.word}: no run has all of these; mend it or leave it out"]


def read(layer: Layer, inside: tuple[str | int, ...], word: str, part: int | None, inherited: bool) -> (
    tuple[Match | None, list[tuple[str, str]]]
):  # fmt: skip
    """One table, or what is wrong with it: places and sentences.

    Args:
        inside: the path to the table.
    """
    raw = layer.table(inside)
    table = Located(raw, layer, inside)
    if not isinstance(raw, dict):
        return None, [(table.place(), f"{word} must be written [[{word}]], settings below it")]
    found: list[tuple[str, str]] = []
    allowed = (*SECTIONS, *(["priority"] if word == "first" else []))
    for key, value in raw.items():
        if key not in allowed:
            known = ", ".join(allowed)
            found.append((table.place(key), f"{word}: unknown {key!r}{nearest(key, [*allowed])} (known: {known})"))
        elif key in SECTIONS and not isinstance(value, dict):
            found.append((table.place(key), f"{word}: {key} must have keys, as {key}.{_KNOWN[key][-1]}"))
    values: dict[Key, tuple[Located, ...]] = {}
    for (section, name), given in settings_of(layer, inside).items():
        if name not in _KNOWN[section]:
            found.append((given.place(), f"{word}: unknown setting {section}.{name}{nearest(name, _KNOWN[section])}"))
        else:
            values[section, name] = _listed((section, name), given)
    priority = raw.get("priority", 1)
    if not is_priority(priority):
        found.append((table.place("priority"), f"{word}: priority must be a whole number, not {priority!r}"))
    if not values and not found:
        found.append((table.place(), f'{word}: names no setting; write one, as model.variants = ["F7"]'))
    return (None, found) if found else (Match(word, values, table, part, inherited, priority), [])


def is_priority(value: Any) -> bool:
    """A whole number."""
    return isinstance(value, int) and not isinstance(value, bool)


def same(wanted: Any, value: Any) -> bool:
    """Whether a setting has a value; numbers up to the rounding of a product."""
    if isinstance(wanted, list | tuple) and isinstance(value, list | tuple):
        return len(wanted) == len(value) and all(map(same, wanted, value))
    if any(isinstance(one, bool) or not isinstance(one, int | float) for one in (wanted, value)):
        return wanted is value if isinstance(wanted, bool) or isinstance(value, bool) else bool(wanted == value)
    try:
        return wanted == value or math.isclose(wanted, value, rel_tol=_TOLERANCE)
    except OverflowError:  # a whole number beyond the floats
        return False


def _listed(key: Key, given: Located) -> tuple[Located, ...]:
    """The values that a table gives for a setting, one or several."""
    value = given.value
    if key == ("train", "peak_lr"):
        rates = around(value) if isinstance(value, str) else value
        if isinstance(rates, dict):
            try:
                return tuple(Located(rate, given.layer, given.path) for rate in Around.model_validate(rates).rates)
            except ValueError:  # no run has such a rate, and that is what is said
                return (given,)
    whole = key[0] == "data" and key[1] in LISTS and not any(isinstance(one, list) for one in _list(value))
    return (given,) if whole or not isinstance(value, list) else tuple(given.one(k) for k in range(len(value)))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _toml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else f'"{value}"' if isinstance(value, str) else str(value)
