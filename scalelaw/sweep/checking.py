"""Checks the grids of a spec, one after the other, and says what is wrong with the line where it stands."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from scalelaw.errors import UserError
from scalelaw.sweep import disk, finetuning, rules
from scalelaw.sweep.config import DataConfig, DataSection, ParentConfig
from scalelaw.sweep.facts import with_digest
from scalelaw.sweep.grids import MOST_GRIDS, SECTIONS, Key, Settings
from scalelaw.sweep.layers import Layer, Located
from scalelaw.sweep.mistakes import located
from scalelaw.sweep.parents import Parents, ParentSection, model_mistakes, parents_of
from scalelaw.sweep.sections import ModelSection, TrainSection

_GRID: dict[str, type[BaseModel]] = {"data": DataSection, "model": ModelSection, "train": TrainSection,
                                     "parent": ParentSection}  # fmt: skip


@dataclass(frozen=True)
class Grid:
    """One grid of runs: values for all settings, lists in [model] and [train] spanning it.

    Attributes:
        completed: `data` with what was found on disk.
        part: the part that it belongs to, from 1; 0 for the file's own.
        words: the part in words, for messages.
        priority: of its runs.
        settings: where each setting stands.
        place: where the grid stands.
        parent: where its runs begin; None for fresh weights.
    """

    data: DataSection
    model: ModelSection
    train: TrainSection
    completed: DataConfig
    part: int
    words: str
    priority: int
    settings: Mapping[Key, Located] = field(repr=False)
    place: str
    parent: ParentConfig | None = None

    def locate(self, sentence: str) -> str:
        """FILE:LINE of what a sentence is about, where it begins with `[section] key`."""
        return locate(self.settings, sentence, self.place)


class Mistakes:
    """Lines, each once. What a part takes over from above is said above.

    Attributes:
        words: which part is being checked.
    """

    def __init__(self) -> None:
        self.words = ""
        self.lines: list[str] = []

    def add(self, place: str, text: str) -> None:
        """Adds a sentence about a place."""
        if f"{place}: {text}" not in self.lines and f"{place}: {self.words}{text}" not in self.lines:
            self.lines.append(f"{place}: {self.words}{text}")

    def extend(self, place: Callable[[str], str], texts: Iterable[str]) -> None:
        """Adds sentences, each where `place` says."""
        for text in texts:
            self.add(place(text), text)


class Grids:
    """Checks grid after grid; the images of one [data] and the runs of one [parent] are looked at once.

    Attributes:
        remarks: one sentence for every set of runs that cannot be parents and is left out.
    """

    def __init__(self, said: Mistakes, planning: bool) -> None:
        self.said, self.planning = said, planning
        self.remarks: list[str] = []
        self._seen: dict[str, DataConfig | UserError] = {}
        self._parents: dict[tuple[str, Path], Parents | UserError] = {}

    def check(
        self, settings: Settings, part: int, priority: int, layers: Sequence[Layer], inside: tuple[str | int, ...] = ()
    ) -> list[Grid]:
        """The grids that settings span; an empty list where something is wrong with one."""
        found: list[Grid] = []
        before = len(self.said.lines)
        place = layers[-1].place(*inside)
        if any(not isinstance(each.value, list) for group in settings.zips for each in group.values()):
            return []  # said where the zip was read
        for count, one in enumerate(settings.grids()):
            if count == MOST_GRIDS:
                self.said.add(place, f"zips and lists of [data] make more than {MOST_GRIDS} grids; give fewer values")
                break
            found += self._grids(finetuning.completed(one, layers[-1]), part, priority, place, layers)
        return found if len(self.said.lines) == before else []

    def _grids(
        self, settings: dict[Key, Located], part: int, priority: int, place: str, layers: Sequence[Layer]
    ) -> list[Grid]:
        """One grid of these settings, or one for each parent."""
        checked: dict[str, Any] = {}
        for section, kind in _GRID.items():
            values = {name: each for (where, name), each in settings.items() if where == section}
            if not values and not any(isinstance(layer.raw.get(section), dict) for layer in layers):
                continue  # said already
            try:
                checked[section] = kind.model_validate({name: each.value for name, each in values.items()})
            except ValidationError as error:
                raw = {name: each.value for name, each in values.items()}
                for loc, text in located(kind, raw, error, f"[{section}]"):
                    each = values.get(str(loc[0])) if loc else None
                    self.said.add(
                        place_of(layers, section) if each is None else each.place(*loc[1:]),
                        text if each is None else _counted(text, section, str(loc[0]), each),
                    )

        def say(texts: Iterable[str], about: str = "") -> None:
            for text in texts:
                section, name, *_ = (*(key_of(text) or key_of(about)), "", "")
                each = settings.get((section, name))
                self.said.add(
                    locate(settings, text if key_of(text) else about, place_of(layers, section) if section else place),
                    text if each is None else _counted(text, section, name, each),
                )

        data, model, train, parent = (checked.get(section) for section in SECTIONS)
        completed = None
        if isinstance(data, DataSection):
            completed = self._completed(data)
            if isinstance(completed, UserError):
                say(completed.messages, about="[data] path:")
        if isinstance(model, ModelSection):
            say(rules.model_mistakes(model))
        if isinstance(train, TrainSection):
            say(rules.train_mistakes(train))
        starts = None
        if isinstance(parent, ParentSection):
            beside = settings.get(("parent", "sweep"))
            starts = self._starts(parent, Path(beside.layer.source if beside else "").parent)
            if isinstance(starts, UserError):
                say(starts.messages)
        if not (isinstance(completed, DataConfig) and data and train) or isinstance(starts, UserError):
            return []
        if starts is None:
            if model is None:
                return []
            return [Grid(data, model, train, completed, part, self.said.words, priority, settings, place)]
        self.remarks += starts.remarks
        asked = model if isinstance(model, ModelSection) else None
        say(
            wrong := [*model_mistakes(starts.starts, asked), *finetuning.side_mistakes(completed, starts.starts, asked)]
        )
        return [] if wrong else [
            Grid(data, start.section(asked), train, completed, part, self.said.words, priority, settings, place,
                 start.config)
            for start in starts.starts
        ]  # fmt: skip

    def _starts(self, parent: ParentSection, beside: Path) -> Parents | UserError:
        key = (parent.model_dump_json(), beside)
        if key not in self._parents:
            try:
                self._parents[key] = parents_of(parent, beside, self.planning)
            except UserError as error:
                self._parents[key] = error
        return self._parents[key]

    def _completed(self, data: DataSection) -> DataConfig | UserError:
        key = data.model_dump_json(exclude_unset=True)
        if key not in self._seen:
            try:
                self._seen[key] = with_digest(data, planning=self.planning)
            except UserError as error:
                absent = data.path and data.source in disk.SOURCES and not disk.is_there(data)
                hint = "; a dry run does without, where train_images and classes are given" if absent else ""
                self._seen[key] = UserError(*(f"{line}{hint}" for line in error.messages))
        return self._seen[key]


def _counted(text: str, section: str, name: str, each: Located) -> str:
    """Which value of a list is meant, where the list was taken apart."""
    start = f"[{section}] {name}"
    if each.nth is None or each.nth[1] == 1 or not text.startswith(f"{start}:") or "unknown key" in text:
        return text
    return f"{start}, value {each.nth[0]} of {each.nth[1]}{text.removeprefix(start)}"


def key_of(sentence: str) -> tuple[str, ...]:
    """Reads `[section] key ...` as (section, key); (section,) without a key; empty for other sentences."""
    match = re.match(r"\[(\w+)\](?: (\w+)(?=[,.:]))?", sentence)
    return () if match is None else tuple(part for part in match.groups() if part)


def locate(settings: Mapping[Key, Located], sentence: str, otherwise: str) -> str:
    """FILE:LINE of the setting that a sentence begins with."""
    key = key_of(sentence)
    if len(key) == 2 and (key[0], key[1]) in settings:
        inner = re.match(r"\[\w+\] \w+(?:\.(\w+)|, value (\d+) of)", sentence)
        inside: list[str | int] = [] if inner is None else [inner[1] or int(inner[2]) - 1]
        return settings[key[0], key[1]].place(*inside)
    return otherwise


def place_of(layers: Sequence[Layer], *path: str | int) -> str:
    """Where something stands: in the last file that has it."""
    for length in range(len(path), 0, -1):
        for layer in reversed(layers):
            if path[:length] in layer.lines:
                return layer.place(*path[:length])
    return layers[-1].place()
