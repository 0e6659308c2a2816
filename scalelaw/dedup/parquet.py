"""Images in Parquet files, as Hugging Face keeps them: a column of {bytes, path}, or of plain bytes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from scalelaw.dedup.sources import PART_IMAGES, File, Picture, key
from scalelaw.errors import UserError, nearest
from scalelaw.runs.files import reason

ROWS_AT_ONCE = 64
UNREADABLE = (OSError, pa.ArrowException)


@dataclass(frozen=True)
class RowGroups:
    """Neighbouring row groups of one file, several hundred images or one group.

    Attributes:
        name: of the file, as images are named after it.
        first: row of the file that it begins with.
    """

    path: Path
    name: str
    column: str
    groups: tuple[int, ...]
    first: int
    images: int
    key: str

    @property
    def encoded(self) -> bool:
        """Always."""
        return True

    def pictures(self) -> Iterator[Picture]:
        """Row by row, named FILE:ROW; a few rows in memory at a time."""
        row = self.first
        try:
            with pq.ParquetFile(self.path) as file:
                for batch in file.iter_batches(ROWS_AT_ONCE, row_groups=list(self.groups), columns=[self.column]):
                    for value in batch.column(0):
                        yield Picture(f"{self.name}:{row}", partial(_content, value))
                        row += 1
        except UNREADABLE as error:
            raise UserError(f"{self.path}: breaks off at row {row} ({reason(error)}); bring a whole file") from error


def _content(value: pa.Scalar) -> bytes:
    content = value.as_py()
    if isinstance(content, dict):
        content = content.get("bytes")
    if content is None:
        raise ValueError("holds no bytes")
    return bytes(content)


def parts(root: Path, files: list[File], column: str | None) -> tuple[RowGroups, ...]:
    """The images of Parquet files, in order of files and rows.

    Raises:
        UserError: when a file cannot be read or has no column of images.
    """
    found: list[RowGroups] = []
    for file in files:
        path = root.absolute() / file.name
        try:
            with pq.ParquetFile(path) as opened:
                schema = opened.schema_arrow
                rows = [opened.metadata.row_group(k).num_rows for k in range(opened.metadata.num_row_groups)]
        except UNREADABLE as error:
            raise UserError(f"{root / file.name}: is not a whole Parquet file ({reason(error)}); mend or remove it") \
                from error  # fmt: skip
        name = _image_column(schema, column, root / file.name)
        found += _grouped(path, file, name, rows)
    return tuple(found)


def _grouped(path: Path, file: File, column: str, rows: list[int]) -> Iterator[RowGroups]:
    at, groups, images = 0, [], 0
    for group, count in enumerate(rows):
        groups.append(group)
        images += count
        if images >= PART_IMAGES or group == len(rows) - 1:
            if images:
                facts = key("rows", str(path), tuple(file), column, groups)
                yield RowGroups(path, file.name, column, tuple(groups), at, images, facts)
            at, groups, images = at + images, [], 0


def _image_column(schema: Any, column: str | None, path: Path) -> str:
    """The column asked for, or the one that can hold images."""
    able = [field.name for field in schema if _holds_bytes(field.type)]
    if column is not None:
        if column not in able:
            raise UserError(f"{path}: no column {column!r} of images{nearest(column, able)} "
                            f"(of bytes: {', '.join(able) or 'none'})")  # fmt: skip
        return column
    if "image" in able or len(able) == 1:
        return "image" if "image" in able else able[0]
    raise UserError(f"{path}: {'several columns' if able else 'no column'} of images "
                    f"({', '.join(able or schema.names)}); name one with --column")  # fmt: skip


def _holds_bytes(kind: Any) -> bool:
    if pa.types.is_struct(kind):
        return any(field.name == "bytes" and _holds_bytes(field.type) for field in kind)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))
