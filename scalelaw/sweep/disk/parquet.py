"""Parquet files in Hugging Face's layout: a column of images, struct<bytes, path> or bytes, and one of labels."""

from __future__ import annotations

import copy
import json
import os
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from scalelaw.errors import UserError, nearest
from scalelaw.sweep.disk import groups
from scalelaw.sweep.disk.base import (
    MAX_CLASSES,
    ImageSet,
    agreed,
    digest_of,
    files_at,
    in_threads,
    numbered,
    size_of,
    too_many,
)
from scalelaw.sweep.disk.groups import InMemory, Unpacked

WHAT = "a Parquet file"
ENDING = re.compile(r"\.(parquet|pq)$")
FOOTER_TAIL = 8


@dataclass(frozen=True)
class _File:
    """One file's facts: its labels (numbers or words, and which are missing), the first row of every row group."""

    labels: NDArray[Any]
    missing: NDArray[np.bool_]
    starts: NDArray[np.int64]
    metadata: Any
    footer: bytes
    class_names: tuple[str, ...] | None


class Parquet(ImageSet):
    """Rows of one or many files, in the order of the files' names.

    Labels are whole numbers from 0, or words. Their names come from the words, or from Hugging Face's notes in the
    files. Nothing in them is ever unpickled. The digest is that of the files' names, sizes and footers, which hold
    the place and size of every column and the range of the labels. Labels that are no class are -1: `check` refuses
    them once it is known which rows are left out.

    Args:
        path: a file, a folder of files or a pattern with *.
        image_key, label_key: names of the columns.
        known: names of the classes, when other files' labels are to be kept.
        classes: how many, where numbers do not say.
        cache: folder to unpack row groups in; without it those read last stay in memory.

    Raises:
        UserError: when there are no files, or a column is missing or of another type.
    """

    def __init__(
        self,
        path: str,
        image_key: str,
        label_key: str,
        known: tuple[str, ...] | None = None,
        classes: int | None = None,
        cache: str | None = None,
    ) -> None:
        self.path, self.image_key, self.label_key = path, image_key, label_key
        self.root, self.files = files_at(path, ENDING, WHAT)
        found = in_threads(lambda name: _facts(os.path.join(self.root, name), image_key, label_key), self.files)
        labels = [file.labels for file in found]
        words = {part.dtype.kind == "U" for part in labels if len(part)}
        if len(words) > 1:
            raise UserError(f"{path}: {label_key!r} is text in some files and numbers in others; write them alike")
        together = np.concatenate(labels)
        if not len(together):
            raise UserError(f"{path}: has no rows; name files with images")
        self._words = words == {True}
        if self._words:
            missing = np.concatenate([file.missing for file in found])
            self.labels, self.class_names = numbered(together, missing, known)
            self.classes = len(self.class_names)
        else:
            self.class_names = agreed(path, {known, *(file.class_names for file in found)} - {None})
            self.classes = len(self.class_names or ()) or classes or min(int(together.max()) + 1, MAX_CLASSES)
            fits = (together >= 0) & (together < min(self.classes, MAX_CLASSES))
            self.labels = np.where(fits, together, -1).astype(np.int32)
        self._check_classes()
        self.count = len(self.labels)
        too_many(path, self.count)
        self._found = found
        self._starts = np.cumsum([0, *(len(part) for part in labels)])
        self.digest = digest_of(part for name, file in zip(self.files, found, strict=True)
                                for part in (name, size_of(os.path.join(self.root, name)), file.footer))  # fmt: skip
        self._groups: InMemory | Unpacked
        if cache is None:
            self._groups = InMemory(self._read_group)
        else:
            own = digest_of([self.digest, image_key])  # files may have several columns of images
            self._groups = Unpacked(os.path.join(cache, f"parquet-{own[:16]}"), self._read_group)

    def classes_of(self, labels: NDArray[np.int32]) -> NDArray[np.int64]:
        """The classes that are left, ascending, once only images of some labels are used.

        Words that none of them has go, and numbers above their highest; classes that the files' notes name all stay.
        """
        had = np.unique(labels[(labels >= 0) & (labels < self.classes)])
        if self._words:
            return had.astype(np.int64)
        return np.arange(self.classes if self.class_names is not None else int(had.max(initial=-1)) + 1)

    def with_classes(self, kept: NDArray[np.int64]) -> Parquet:
        """The same files with some of their classes, numbered anew in that order; labels of the others become -1.

        Raises:
            UserError: when they are fewer than two.
        """
        found, kept = copy.copy(self), kept[kept < self.classes]
        number = np.full(self.classes + 1, -1, np.int32)  # the last is that of -1
        number[kept] = np.arange(len(kept))
        found.labels, found.classes = number[self.labels], len(kept)
        found.class_names = None if self.class_names is None else tuple(self.class_names[label] for label in kept)
        found._check_classes()
        return found

    def _check_classes(self) -> None:
        if not 2 <= self.classes <= MAX_CLASSES:
            many = f"{self.classes:,} class{'es' * (self.classes > 1)}"
            raise UserError(f"{self.path}: {self.label_key!r} has {many}; give images of 2 to {MAX_CLASSES:,} classes")

    def check(self, left_out: Sequence[int]) -> None:
        """Refuses labels that are no class.

        Args:
            left_out: rows that nothing is to read, passed over.

        Raises:
            UserError: naming the first row whose label is missing or none of the classes.
        """
        wrong = np.flatnonzero(self.labels < 0)
        wrong = wrong[~np.isin(wrong, np.asarray(left_out, np.int64))]
        if not len(wrong):
            return
        row = int(wrong[0])
        file, inside = self._within(row)
        place, label = f"{os.path.join(self.root, self.files[file])}, row {inside}", self._found[file].labels[inside]
        if self._found[file].missing[inside]:
            raise UserError(f"{place}: has no {self.label_key!r}; leave out images without a label")
        if self._found[file].labels.dtype.kind == "U":
            raise UserError(f"{self.path}: class {str(label)!r} is not among the training images' {self.classes}; "
                            "leave it out")  # fmt: skip
        raise UserError(f"{place}: {self.label_key!r} is {label}; labels run from 0 to {self.classes - 1} here, leave "
                        "out what has none")  # fmt: skip

    def warn_of_slow_access(self) -> None:
        """Warns where row groups are read again and again, because memory does not hold them all."""
        total = sum(size_of(os.path.join(self.root, name)) for name in self.files)
        if isinstance(self._groups, InMemory) and total > groups.HELD_BYTES:
            each = total / max(1, sum(len(file.starts) for file in self._found))
            warnings.warn(
                f"{self.path}: {total / 1e9:.0f} GB are read in random order, {each / 1e6:.0f} MB for each image; set "
                f"[data] cache = FOLDER with room for as much, or write smaller row groups",
                stacklevel=2,
            )

    def name(self, row: int) -> str:
        file, inside = self._within(row)
        return f"{self.files[file]}:{inside}"

    def read(self, row: int) -> tuple[bytes, int]:
        file, inside = self._within(row)
        group = int(np.searchsorted(self._found[file].starts, inside, side="right")) - 1
        image = self._groups.image(file, group, inside - int(self._found[file].starts[group]))
        if image is None:
            raise ValueError("no image in this row")
        return image, int(self.labels[row])

    def _read_group(self, file: int, group: int) -> Any:
        path = os.path.join(self.root, self.files[file])
        try:
            with pq.ParquetFile(path, metadata=self._found[file].metadata) as opened:
                images = opened.read_row_group(group, columns=[self.image_key], use_threads=False).column(0)
        except (OSError, pa.ArrowException) as error:
            raise UserError(f"{path}: row group {group} cannot be read ({error}); bring the old file back") from error
        return pc.struct_field(images, "bytes") if pa.types.is_struct(images.type) else images

    def _within(self, row: int) -> tuple[int, int]:
        """The file of a row, and the row in it."""
        file = int(np.searchsorted(self._starts, row, side="right")) - 1
        return file, row - int(self._starts[file])


def _facts(path: str, image_key: str, label_key: str) -> _File:
    """Reads a file's footer and labels, no image.

    Raises:
        UserError: when it is not such a file.
    """
    try:
        footer = _footer(path)
        with pq.ParquetFile(path) as file:
            schema, metadata = file.schema_arrow, file.metadata
            _check(path, schema, image_key, label_key)
            column = file.read(columns=[label_key]).column(0)
    except (OSError, ValueError, pa.ArrowException) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path}: not a Parquet file that can be read ({str(error).splitlines()[0]})") from error
    missing = np.asarray(column.is_null(), bool)
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    words = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    if missing.any():
        column = column.fill_null("" if words else 0)
    labels = np.array(column.to_pylist(), str) if words else column.to_numpy().astype(np.int64)
    if not words:
        labels = np.where(missing, -1, labels)
    groups = [metadata.row_group(k).num_rows for k in range(metadata.num_row_groups)]
    starts = np.cumsum([0, *groups])[:-1].astype(np.int64)
    return _File(labels, missing, starts, metadata, footer, _class_names(schema, label_key))


def _check(path: str, schema: Any, image_key: str, label_key: str) -> None:
    wrong = []
    for key, setting in ((image_key, "image_key"), (label_key, "label_key")):
        if key not in schema.names:
            known = ", ".join(schema.names)
            wrong.append(f"{path}: has no column {key!r}{nearest(key, schema.names)} (columns: {known}); name it with "
                         f"{setting}")  # fmt: skip
    if wrong:
        raise UserError(*wrong)
    image, label = schema.field(image_key).type, schema.field(label_key).type
    inner = image
    if pa.types.is_struct(image):
        inner = image.field("bytes").type if image.get_field_index("bytes") >= 0 else pa.null()
    if not (pa.types.is_binary(inner) or pa.types.is_large_binary(inner)):
        wrong.append(f"{path}: {image_key!r} is {image}; give encoded images, as binary or struct<bytes: binary, path: "
                     "string>")  # fmt: skip
    plain = label.value_type if pa.types.is_dictionary(label) else label
    if not (pa.types.is_integer(plain) or pa.types.is_string(plain) or pa.types.is_large_string(plain)):
        wrong.append(f"{path}: {label_key!r} is {label}; give one class per image, as a whole number or a word")
    if wrong:
        raise UserError(*wrong)


def _class_names(schema: Any, label_key: str) -> tuple[str, ...] | None:
    """The names of the labels that Hugging Face's `datasets` notes in its files; None where it did not."""
    try:
        notes = json.loads((schema.metadata or {})[b"huggingface"])
        names = notes["info"]["features"][label_key]["names"]
    except (KeyError, TypeError, ValueError):
        return None
    return tuple(map(str, names)) if isinstance(names, list) and names else None


def _footer(path: str) -> bytes:
    """A Parquet file's last part as it is: the schema, and place, size and statistics of every column."""
    with open(path, "rb") as file:
        length = file.seek(0, os.SEEK_END)
        if length < FOOTER_TAIL + 4:
            raise ValueError("too short")
        file.seek(length - FOOTER_TAIL)
        size = int.from_bytes(file.read(4), "little")
        file.seek(max(0, length - FOOTER_TAIL - size))
        return file.read(size)
