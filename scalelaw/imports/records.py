"""TFRecord framing: length, its checksum, data, their checksum, one record after another."""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from scalelaw.errors import UserError
from scalelaw.imports.checksums import crc32c, crc32c_of_rows, masked
from scalelaw.runs import files

_HEAD = struct.Struct("<QI")
_BATCH = 8192
_TOGETHER = 32
"""From so many records of one length on their checksums are worked out together."""


def records(path: Path) -> tuple[list[bytes], str | None]:
    """The records of a file, and a sentence when its end was lost, as when the writer was killed.

    Raises:
        UserError: when the file cannot be read or is damaged before its end.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({files.reason(error)})") from error
    found: list[bytes] = []
    lost = None
    spans = _spans(path, data)
    while batch := list(islice(spans, _BATCH)):
        if batch[-1] is None:
            lost = f"{path}: ends within a record, as when its writer was killed; what stands before it is read"
        whole = [span for span in batch if span is not None]
        _check(path, data, whole)
        found += [data[begin:end] for begin, end in whole]
    return found, lost


def _spans(path: Path, data: bytes) -> Iterator[tuple[int, int] | None]:
    """Where the data of each record begin and end; None at last when the file ends within one."""
    at = 0
    while at < len(data):
        if at + _HEAD.size > len(data):
            yield None
            return
        length, checksum = _HEAD.unpack_from(data, at)
        if not (length or checksum or any(data[at:])):  # a disk that lost power leaves zeros
            yield None
            return
        if masked(crc32c(data[at : at + 8])) != checksum:
            raise UserError(f"{path}: is damaged, or no event file: the checksum of the record's length at byte {at} "
                            "is wrong; copy it anew")  # fmt: skip
        begin = at + _HEAD.size
        if begin + length + 4 > len(data):
            yield None
            return
        yield begin, begin + length
        at = begin + length + 4


def _check(path: Path, data: bytes, spans: list[tuple[int, int]]) -> None:
    by_length: dict[int, list[int]] = defaultdict(list)
    for begin, end in spans:
        by_length[end - begin].append(begin)
    for length, begins in by_length.items():
        if length and len(begins) >= _TOGETHER:
            rows = np.frombuffer(b"".join(data[b : b + length] for b in begins), dtype=np.uint8)
            found = crc32c_of_rows(rows.reshape(len(begins), length)).tolist()
        else:
            found = [crc32c(data[b : b + length]) for b in begins]
        for begin, crc in zip(begins, found, strict=True):
            if masked(crc) != int.from_bytes(data[begin + length : begin + length + 4], "little"):
                raise UserError(f"{path}: is damaged: the checksum of the record at byte {begin - _HEAD.size} is "
                                "wrong; copy it anew")  # fmt: skip
