"""Sources put together into one table of runs, with an account of everything that was done to them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from scalelaw.errors import UserError
from scalelaw.imports import costs, duplicates, matching, units
from scalelaw.imports.cells import read_cells
from scalelaw.imports.column_map import ColumnMap
from scalelaw.imports.costs import CostFrom, FlopRule
from scalelaw.imports.duplicates import Keep
from scalelaw.imports.matching import Matched
from scalelaw.imports.reading import Options, read
from scalelaw.imports.source import Source, objects
from scalelaw.imports.tables import read_text
from scalelaw.imports.traces import trace
from scalelaw.imports.units import own_unit
from scalelaw.runs import COLUMNS, RunTable

_SHOWN = 20


@dataclass(frozen=True)
class Meaning:
    """How one of our columns came about.

    Attributes:
        column: our name.
        source: the source's name; None for what was set for all runs.
        unit: what the source counts in; None where there is nothing to choose.
        unit_said: whether the user named the unit; else ours was taken to be meant.
    """

    column: str
    source: str | None
    unit: str | None
    unit_said: bool


@dataclass(frozen=True)
class Imported:
    """Runs in our words.

    Attributes:
        runs: the table.
        sources: what was read.
        map: what the user said of them.
        meanings: of every column that is one of ours.
        others: columns that are none of ours, kept: the source's name -> the name that it is kept under.
        unknown: our columns that no run has.
        notes: a sentence for everything that was derived, put together, left out or cannot be right.
        hints: flags that would name columns which look like ours.
        traces: by run id.
        choices: what else the user chose, by the names of the flags.
    """

    runs: RunTable = field(repr=False)
    sources: tuple[Source, ...] = field(repr=False)
    map: ColumnMap
    meanings: tuple[Meaning, ...]
    others: Mapping[str, str]
    unknown: tuple[str, ...]
    notes: tuple[str, ...]
    hints: tuple[str, ...]
    traces: Mapping[str, pa.Table] = field(repr=False)
    choices: Mapping[str, str | float | bool | None] = field(default_factory=dict)


def import_runs(
    names: Sequence[str],
    options: Options,
    *,
    keep: Keep | None = None,
    utilisation: float | None = None,
    cost_from: CostFrom | None = None,
    flop_rule: FlopRule | None = None,
    as_is: bool = False,
) -> Imported:
    """Reads sources and makes one table of runs of them.

    Args:
        names: files, folders or `wandb:ENTITY/PROJECT`.
        options: formats and the mapping of columns.
        keep: which of contradicting rows of one run to keep; None to refuse them.
        utilisation, cost_from, flop_rule: as `costs.fill`.
        as_is: whether to work nothing out from the rest.

    Raises:
        UserError: naming every mistake in the sources; nothing is written then.
    """
    sources = tuple(read(name, options) for name in dict.fromkeys(names))
    if mistakes := matching.absent(sources, options.map):
        raise UserError(*mistakes)
    matched = [matching.match(source, options.map) for source in sources]
    rows: duplicates.Rows = []
    notes = [note for source in sources for note in source.notes]
    for source, columns in zip(sources, matched, strict=True):
        found, said = _rows(source, columns, options.map, mistakes)
        rows += found
        notes += said
    if mistakes:
        more = [f"and {len(mistakes) - _SHOWN} more cells that cannot be read"] if len(mistakes) > _SHOWN else []
        raise UserError(*mistakes[:_SHOWN], *more)
    places = [place for source in sources for place in source.places]
    notes += duplicates.named(rows, places)
    rows, said = duplicates.united(rows, places, keep)
    notes += said
    if not as_is:
        notes += costs.fill(rows, utilisation=utilisation, cost_from=cost_from, flop_rule=flop_rule)
    runs = _table(rows, sources, matched)
    traces = {
        run_id: trace(history, columns.ours, options.map.units)
        for source, columns in list(zip(sources, matched, strict=True))[:: -1 if keep == "first" else 1]
        for run_id, history in source.histories.items()
        if len(history.table)
    }
    others = {theirs: name for columns in matched for theirs, name in columns.others.items()}
    meanings = _meanings(matched, options.map)
    notes += [note for one in meanings if not one.unit_said and (note := units.in_name(one.column, one.source))]
    unnamed = {"run_id"} - {one.column for one in meanings}  # then it is a hash, which a likely column could replace
    return Imported(
        runs, sources, options.map, meanings, others,
        tuple(name for name in COLUMNS if not runs.has(name)), (*notes, *_first(runs.problems)),
        tuple(matching.hints(list(others), {str(name) for name in runs.frame} - unnamed)), traces,
        {"format": options.format, "step": options.step, "total_steps": options.total_steps, "keep": keep,
         "utilisation": utilisation, "cost": cost_from, "flop": flop_rule, "as_is": as_is},
    )  # fmt: skip


def _first(problems: Sequence[str]) -> list[str]:
    """The first values that cannot be right, and how many more there are."""
    more = len(problems) - _SHOWN
    rest = [f"and {more} more values that cannot be right; every reading command names them all"] if more > 0 else []
    return [*problems[:_SHOWN], *rest]


def _rows(source: Source, columns: Matched, said: ColumnMap, mistakes: list[str]) -> tuple[duplicates.Rows, list[str]]:
    """The rows of a source in our words, and a sentence for each run whose loss is not a number."""
    cells: dict[str, list[Any]] = {}
    lost: list[int] = []
    for ours, theirs in columns.ours.items():
        found = read_cells(list(source.frame[theirs]), ours, theirs, said.units.get(ours), source.places)
        mistakes += found.mistakes
        cells[ours] = found.values
        if ours == "val_loss" and source.logged:
            lost = found.not_numbers + [
                row for row, value in enumerate(found.values) if value is not None and math.isinf(value)
            ]
    for ours, value in said.constants.items():
        found = read_cells([value], ours, ours, said.units.get(ours), [f"--set {ours}={value}"])
        mistakes += found.mistakes
        cells[ours] = found.values * len(source.frame)
    for theirs, name in columns.others.items():
        values = list(source.frame[theirs])
        cells[name] = read_text(values) if source.untyped else values
    rows = [dict(zip(cells, values, strict=True)) for values in zip(*cells.values(), strict=True)]
    notes = []
    for row in lost:
        rows[row]["val_loss"] = None
        if rows[row].get("status") == "finished":
            rows[row]["status"] = "diverged"
        if rows[row].get("error") is None:
            rows[row]["error"] = "the last loss is not a finite number"
        notes.append(f"{source.places[row]}: its last loss is not a finite number"
                     + (", so it is diverged" if rows[row].get("status") == "diverged" else ""))  # fmt: skip
    return rows, notes


def _table(rows: duplicates.Rows, sources: Sequence[Source], matched: Sequence[Matched]) -> RunTable:
    """The rows with columns that at least one of them knows."""
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: [row.get(name) for row in rows] for name in names}
    kept = {name: values for name, values in columns.items() if any(value is not None for value in values)}
    runs = RunTable.from_frame(objects(kept))
    metadata = {
        name: source.fields[theirs]
        for source, columns_ in zip(sources, matched, strict=True)
        for theirs, name in columns_.others.items()
        if theirs in source.fields
    }
    return RunTable(runs.frame, source=" and ".join(source.name for source in sources),
                    problems=tuple(problem.replace("a DataFrame", "imported", 1) for problem in runs.problems),
                    metadata=metadata)  # fmt: skip


def _meanings(matched: Sequence[Matched], said: ColumnMap) -> tuple[Meaning, ...]:
    found = {}
    for columns in matched:
        for ours, theirs in columns.ours.items():
            found[ours] = Meaning(ours, theirs, said.units.get(ours, own_unit(ours)), ours in said.units)
    for ours in said.constants:
        found[ours] = Meaning(ours, None, said.units.get(ours, own_unit(ours)), ours in said.units)
    return tuple(found.values())
