"""W&B's offline logs (`run-ID.wandb`), read without W&B: LevelDB's log framing around protocol buffers.

Framing: github.com/google/leveldb/blob/main/doc/log_format.md, with a header of seven bytes and zlib's CRC-32 in place
of CRC-32C. Messages: wandb/proto/wandb_internal.proto.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from scalelaw.errors import UserError
from scalelaw.imports.source import STEP, History
from scalelaw.imports.tables import columnar
from scalelaw.imports.wire import Malformed, Message
from scalelaw.runs import files

_BLOCK = 32768
_HEADER = struct.Struct("<4sHB")
_RECORD = struct.Struct("<IHB")
_IDENT, _MAGIC, _VERSION = b":W&B", 0xBEE1, 0
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4
_HISTORY, _SUMMARY, _CONFIG, _RUN, _EXIT = 2, 3, 5, 17, 18


def log_files(root: Path) -> list[Path]:
    """The offline logs at a path, at any depth, sorted."""
    return [root] if root.is_file() else sorted(root.rglob("run-*.wandb"))


def read(root: Path) -> tuple[list[History], list[Path], list[str]]:
    """The history of every offline log at a path.

    Raises:
        UserError: when a log is damaged before its end or of another version.
    """
    paths = log_files(root)
    found = [_history(path) for path in paths]
    return [history for history, _ in found], paths, [note for _, notes in found for note in notes]


def _history(path: Path) -> tuple[History, list[str]]:
    notes: list[str] = []
    rows: list[dict[str, object]] = []
    config: dict[str, object] = {}
    summary: dict[str, object] = {}
    facts: dict[str, object] = {}
    exit_code: int | None = None
    for index, data in enumerate(_records(path, notes)):
        try:
            record = Message(data)
            for run in record.messages(_RUN):
                facts |= {name: run.text(number) for name, number in _TEXTS.items() if run.text(number)}
                _update(config, run.message(4))
                _update(summary, run.message(5))
                if 17 in run:
                    facts["Created"] = run.message(17).integer(1)
            for change in record.messages(_CONFIG):
                _update(config, change)
            for change in record.messages(_SUMMARY):
                _update(summary, change)
            for row in record.messages(_HISTORY):
                rows.append(_items(row, 1))
                rows[-1].setdefault(STEP, row.message(2).integer(1) if 2 in row else len(rows) - 1)
                if not isinstance(rows[-1][STEP], int):
                    raise Malformed(f"its step is {rows[-1][STEP]!r}")
            for end in record.messages(_EXIT):
                exit_code = end.integer(1)
        except (Malformed, ValueError) as error:
            raise UserError(
                f"{path}: record {index + 1} is no W&B record ({error}); export the run from W&B"
            ) from error
    if exit_code is None:
        notes.append(
            f"{path}: has no exit record, as when the run was killed or is still running; its status is failed"
        )
    state = "finished" if exit_code == 0 else "failed"
    run_id = str(facts.get("ID") or path.stem.removeprefix("run-"))
    known = {**_flat(summary), **_flat(config), **facts, "ID": run_id, "State": state}
    return History(run_id, columnar([_flat(row) for row in rows], STEP), facts=known), notes


_TEXTS = {"ID": 1, "Name": 8, "Sweep": 12}


def _update(known: dict[str, object], change: Message) -> None:
    known |= _items(change, 1)
    for name in _items(change, 2):
        known.pop(name, None)


def _items(message: Message, number: int) -> dict[str, object]:
    """Items of (key or nested_key, value as JSON)."""
    found: dict[str, object] = {}
    for item in message.messages(number):
        nested = [part.decode() for part in item.strings(2)]
        key = item.text(1) or ".".join(nested)
        text = item.text(16)
        found[key] = json.loads(text) if text else None
    return found


def _flat(values: dict[str, object]) -> dict[str, object]:
    from scalelaw.imports.tables import flattened

    return flattened({name: value for name, value in values.items() if name != "_wandb"})


def _records(path: Path, notes: list[str]) -> Iterator[bytes]:
    """The records of a log, put together from their fragments; a lost end is noted."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({files.reason(error)})") from error
    if len(data) < _HEADER.size or _HEADER.unpack_from(data)[:2] != (_IDENT, _MAGIC):
        raise UserError(f"{path}: is no W&B log; export the runs from W&B as CSV, or name another file")
    if (version := data[_HEADER.size - 1]) != _VERSION:
        raise UserError(f"{path}: is a W&B log of version {version}, and only {_VERSION} is known; send it with "
                        "`wandb sync` and import wandb:ENTITY/PROJECT (pip install 'scalelaw[wandb]')")  # fmt: skip
    at, whole = _HEADER.size, b""
    while at < len(data):
        left = _BLOCK - at % _BLOCK
        if left < _RECORD.size:
            at += left
            continue
        if at + _RECORD.size > len(data):
            break
        checksum, length, kind = _RECORD.unpack_from(data, at)
        body = data[at + _RECORD.size : at + _RECORD.size + length]
        if len(body) < length:
            break
        if kind not in (_FULL, _FIRST, _MIDDLE, _LAST) or zlib.crc32(body, zlib.crc32(bytes([kind]))) != checksum:
            if not any(data[at:]):
                break  # a disk that lost power leaves zeros
            raise UserError(f"{path}: is damaged: the checksum at byte {at} is wrong; export the run from W&B")
        at += _RECORD.size + length
        whole = body if kind in (_FULL, _FIRST) else whole + body
        if kind in (_FULL, _LAST):
            yield whole
            whole = b""
    if at < len(data) or whole:
        notes.append(f"{path}: ends within a record, as when its run was killed; what stands before it is read")
