"""What the user says of a source: which column is which, in which units, and what holds for every run."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scalelaw.errors import UserError, nearest
from scalelaw.imports.units import unit_of
from scalelaw.runs import COLUMNS, files
from scalelaw.runs.schema import LETTERS

DERIVED = ("device_hours", "steps")
"""Names for what a source may say in place of ours: hours of single devices, and optimizer steps."""
NAMES = (*COLUMNS, *DERIVED)
_LETTERS = {**LETTERS, "L": "val_loss"}
_SECTIONS = ("columns", "units", "set")


@dataclass(frozen=True)
class ColumnMap:
    """The mapping of a source's columns.

    Attributes:
        columns: our name -> the source's.
        units: our name -> the unit that the source counts in.
        constants: our name -> a value for every run.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, dict[str, str]]:
        """As plain JSON."""
        return {"columns": dict(self.columns), "units": dict(self.units), "set": dict(self.constants)}


def known_name(word: str) -> str | None:
    """Our name for a word: itself, or what the field's letter means; None for another."""
    return word if word in NAMES else _LETTERS.get(word)


def column_map(
    columns: Mapping[str, str] | None = None,
    units: Mapping[str, str] | None = None,
    constants: Mapping[str, str] | None = None,
    path: Path | None = None,
) -> ColumnMap:
    """A mapping from flags and a TOML file; what the flags say wins.

    Args:
        columns: of `--column`.
        units: of `--unit`.
        constants: of `--set`.
        path: a TOML file with the tables [columns], [units] and [set]; a column may also be a table of `column` and
            `unit`.

    Raises:
        UserError: naming every mistake.
    """
    given = {"columns": dict(columns or {}), "units": dict(units or {}), "set": dict(constants or {})}
    flags = {"columns": "--column", "units": "--unit", "set": "--set"}
    mistakes: list[str] = []
    found: dict[str, dict[str, str]] = {section: {} for section in _SECTIONS}
    if path is not None:
        for section, words in _read(path, mistakes).items():
            _add(found, section, words, f"{path}: [{section}]", mistakes)
    for section, words in given.items():
        fresh: dict[str, dict[str, str]] = {section: {} for section in _SECTIONS}
        _add(fresh, section, words, flags[section], mistakes)
        for inner, values in fresh.items():
            found[inner] |= values
    by_source: dict[str, str] = {}
    for ours, theirs in found["columns"].items():
        if theirs in by_source:
            mistakes.append(f"--column {ours}: {theirs!r} is {by_source[theirs]} already; a column has one meaning")
        by_source[theirs] = ours
        if ours in found["set"]:
            mistakes.append(f"--set {ours}: {ours} is the column {theirs!r} already; leave one of the two out")
    if mistakes:
        raise UserError(*mistakes)
    return ColumnMap(found["columns"], found["units"], found["set"])


def _add(found: dict[str, dict[str, str]], section: str, words: Mapping[str, Any], place: str,
         mistakes: list[str]) -> None:  # fmt: skip
    for word, value in words.items():
        name = known_name(word)
        if name is None:
            mistakes.append(f"{place} {word}: is no known column{nearest(word, [*NAMES, *_LETTERS])} "
                            f"(known: {', '.join([*NAMES, *_LETTERS])})")  # fmt: skip
            continue
        if name in found[section]:
            mistakes.append(f"{place} {word}: {name} is named already; leave one of the two out")
            continue
        if section == "columns" and isinstance(value, dict):
            unknown = [key for key in value if key not in ("column", "unit")]
            if unknown or not isinstance(value.get("column"), str):
                mistakes.append(f"{place} {word}: must be a column's name, or {{ column = ..., unit = ... }}")
                continue
            if "unit" in value:
                _add(found, "units", {name: value["unit"]}, place, mistakes)
            value = value["column"]
        if section == "set" and isinstance(value, (int, float)) and not isinstance(value, bool):
            value = repr(value)
        if not isinstance(value, str):
            mistakes.append(f"{place} {word}: must be a text{' or a number' if section == 'set' else ''}")
            continue
        if section == "units":
            try:
                value = unit_of(name, value, f"{place} {word}")
            except UserError as error:
                mistakes += error.messages
                continue
        found[section][name] = value


def _read(path: Path, mistakes: list[str]) -> dict[str, dict[str, Any]]:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--mapping {path}: cannot be read ({files.reason(error)})") from error
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"--mapping {path}: is not TOML ({error}); mend that place") from error
    sections: dict[str, dict[str, Any]] = {}
    for name, words in document.items():
        if name not in _SECTIONS:
            mistakes.append(f"{path}: {name!r} is unknown{nearest(name, list(_SECTIONS))} "
                            f"(known: {', '.join(f'[{section}]' for section in _SECTIONS)})")  # fmt: skip
        elif not isinstance(words, dict):
            mistakes.append(f"{path}: {name} must be a table, [{name}]")
        else:
            sections[name] = words
    return sections
