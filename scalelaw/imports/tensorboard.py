"""TensorBoard event files, read without TensorBoard: scalars as simple values or tensors, and hyperparameters.

Messages: tensorboard/compat/proto/{event,summary,tensor}.proto and tensorboard/plugins/hparams/plugin_data.proto.
"""

from __future__ import annotations

import math
import os
import struct
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from scalelaw.errors import UserError
from scalelaw.imports.records import records
from scalelaw.imports.source import RUNTIME, STEP, History
from scalelaw.imports.wire import Malformed, Message

HPARAMS = "hparams"
PARTS = ("train", "validation", "val", "eval", "test")
"""Folders that some writers (Keras, estimators) make in a run's for the data they look at."""
_STATUS = {1: "finished", 2: "failed", 3: "running"}  # api.proto: STATUS_SUCCESS, STATUS_FAILURE, STATUS_RUNNING

# DataType -> (field, struct's letter of the field's elements or v for varints, struct's letter in tensor_content)
_TYPES = {
    1: (5, "f", "f"), 2: (6, "d", "d"), 3: (7, "v", "i"), 4: (7, "v", "B"), 5: (7, "v", "h"), 6: (7, "v", "b"),
    9: (10, "v", "q"), 10: (11, "v", "?"), 17: (7, "v", "H"), 22: (16, "v", "I"), 23: (17, "v", "Q"),
}  # fmt: skip
_HALF, _BFLOAT16 = 19, 14


@dataclass
class _Run:
    """What the files of one folder hold."""

    values: dict[str, dict[int, tuple[float, float]]] = field(default_factory=lambda: defaultdict(dict))
    facts: dict[str, object] = field(default_factory=dict)
    began: float | None = None
    passed_over: set[str] = field(default_factory=set)
    again: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def event_files(root: Path) -> list[Path]:
    """The event files at a path, at any depth, sorted."""
    if root.is_file():
        return [root]
    found = [Path(folder, name) for folder, _, names in os.walk(root) for name in names if ".tfevents." in name]
    return sorted(found)


def read(root: Path) -> tuple[list[History], list[Path], list[str]]:
    """The history of every folder of event files: each is one run, named by its path below `root`.

    Raises:
        UserError: when a file is damaged, or there is no scalar in any.
    """
    paths = event_files(root)
    base = root.parent if root.is_file() else root
    folders: dict[Path, _Run] = {}
    for path in paths:
        _read_file(path, folders.setdefault(path.parent, _Run()))
    notes: list[str] = []
    histories = []
    for folder, run in _with_parts(folders).items():
        relative = folder.relative_to(base).parts
        notes += run.notes
        if run.passed_over:
            notes.append(f"{folder}: not scalars, passed over: {', '.join(sorted(run.passed_over))}")
        if run.again:
            more = f" ({len(run.again)} such)" if len(run.again) > 1 else ""
            notes.append(f"{folder}: {run.again[0]}{more}, as when a run was started again or two wrote into one "
                         "folder; what was written last counts")  # fmt: skip
        if run.values or run.facts:
            name = ".".join(relative) or base.resolve().name
            histories.append(History(name, _table(run), facts=run.facts))
    if not any(len(history.table) for history in histories):
        raise UserError(f"{root}: holds no TensorBoard scalars in {len(paths)} event files; name another folder")
    return _sessions(histories, notes), paths, notes


def _with_parts(folders: dict[Path, _Run]) -> dict[Path, _Run]:
    """The runs, those of `PARTS` put together: two of them in one folder, or one in the folder of a run.

    Their tags then begin with the part: `validation/epoch_loss`.
    """
    beside: dict[Path, list[Path]] = defaultdict(list)
    for folder in folders:
        if folder.name in PARTS:
            beside[folder.parent].append(folder)
    whole: dict[Path, _Run] = {}
    for folder, part in folders.items():
        above = folder.parent
        if folder.name not in PARTS or (len(beside[above]) < 2 and above not in folders):
            run, prefix = whole.setdefault(folder, _Run()), ""
        else:
            run, prefix = whole.setdefault(above, _Run()), f"{folder.name}/"
        run.values.update({prefix + tag: values for tag, values in part.values.items()})
        run.facts |= part.facts
        run.again += part.again
        run.passed_over |= {prefix + tag for tag in part.passed_over}
        run.notes += part.notes
        began = [one for one in (run.began, part.began) if one is not None]
        run.began = min(began, default=None)
    return whole


def _sessions(histories: list[History], notes: list[str]) -> list[History]:
    """A folder of hyperparameters in a run's folder belongs to that run: PyTorch's writer puts them there.

    Its scalars, results that it repeats, become facts of the run.
    """
    above = {history.run_id: history for history in histories if not history.facts}
    lent: dict[str, list[History]] = defaultdict(list)
    for history in histories:
        if history.facts and (run := _above(history.run_id, above)):
            lent[run].append(history)
    taken = set()
    facts: dict[str, dict[str, object]] = {}
    for run, found in lent.items():
        if len(found) == 1:  # of several it is unknown which is the run's
            taken.add(found[0].run_id)
            table = found[0].table
            results = {tag: table[tag][len(table) - 1].as_py() for tag in table.column_names[2:]}
            facts[run] = {**results, **found[0].facts}
            notes.append(f"run {run}: hyperparameters are those of {found[0].run_id}")
    return [
        History(one.run_id, one.table, facts=facts.get(one.run_id, one.facts))
        for one in histories
        if one.run_id not in taken and len(one.table)
    ]


def _above(run_id: str, runs: Mapping[str, History]) -> str | None:
    """The run whose folder holds this one, the innermost."""
    found = [name for name in runs if run_id.startswith(f"{name}.")]
    return max(found, key=len) if found else None


def _read_file(path: Path, run: _Run) -> None:
    found, lost = records(path)
    if lost:
        run.notes.append(lost)
    for index, record in enumerate(found):
        try:
            event = Message(record)
            wall, step = event.double(1), event.integer(2)
            if 5 not in event:
                continue
            run.began = wall if run.began is None else min(run.began, wall)
            for value in event.message(5).messages(1):
                _take(value, step, wall, run)
        except (Malformed, struct.error) as error:
            raise UserError(f"{path}: record {index + 1} is no event ({error}); copy the file anew") from error


def _take(value: Message, step: int, wall: float, run: _Run) -> None:
    tag = value.text(1)
    plugin = value.message(9).message(1)
    if plugin.text(1) == HPARAMS:
        content = plugin.strings(2)
        _hyperparameters(Message(content[-1] if content else b""), run)
        return
    number = value.single(2) if 2 in value else _scalar(value.message(8)) if 8 in value else None
    if number is None:
        run.passed_over.add(tag)
        return
    earlier = run.values[tag].get(step)
    if earlier is not None and earlier[1] != number and not (math.isnan(earlier[1]) and math.isnan(number)):
        run.again.append(f"{tag!r} is {earlier[1]:g} and {number:g} at step {step}")
    if earlier is None or wall >= earlier[0]:  # a run that was started again logs a step twice
        run.values[tag][step] = (wall, number)


def _scalar(tensor: Message) -> float | None:
    """The one number of a tensor; None when it holds none or several."""
    kind, content = tensor.integer(1), b"".join(tensor.strings(4))
    if kind in (_HALF, _BFLOAT16):
        bits = list(struct.unpack(f"<{len(content) // 2}H", content)) if content else tensor.numbers(13, "v")
        if len(bits) != 1:
            return None
        word = int(bits[0])
        half, wide = struct.pack("<H", word), struct.pack("<I", word << 16)
        return float(struct.unpack("<e", half)[0] if kind == _HALF else struct.unpack("<f", wide)[0])
    if kind not in _TYPES:
        return None
    number, code, packed = _TYPES[kind]
    if content:
        return float(struct.unpack("<" + packed, content)[0]) if len(content) == struct.calcsize("<" + packed) else None
    found = tensor.numbers(number, code)
    dimensions = [size.integer(1) for size in tensor.message(2).messages(2)]
    if not found and all(size == 1 for size in dimensions) and 2 in tensor:
        return 0.0  # a zero may be left out
    return float(found[0]) if len(found) == 1 and all(size == 1 for size in dimensions) else None


def _hyperparameters(data: Message, run: _Run) -> None:
    for entry in data.message(3).messages(1):
        value = entry.message(2)
        if 2 in value:
            run.facts[entry.text(1)] = value.double(2)
        elif 3 in value:
            run.facts[entry.text(1)] = value.text(3)
        elif 4 in value:
            run.facts[entry.text(1)] = bool(value.integer(4))
    if 4 in data and (status := _STATUS.get(data.message(4).integer(1))):
        run.facts["status"] = status


def _table(run: _Run) -> pa.Table:
    """Rows by step, a column a tag; `_runtime` is the seconds since the first event."""
    steps = sorted({step for values in run.values.values() for step in values})
    walls = {step: max(values[step][0] for values in run.values.values() if step in values) for step in steps}
    began = run.began or 0.0
    columns = {STEP: pa.array(steps, pa.int64()), RUNTIME: pa.array([walls[step] - began for step in steps])}
    for tag, values in run.values.items():
        numbers = [values[step][1] if step in values else None for step in steps]
        columns[tag if tag not in columns else f"{tag} (not used)"] = pa.array(numbers, pa.float64(), from_pandas=False)
    return pa.table(columns)
