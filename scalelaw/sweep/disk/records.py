"""ArrayRecord files of tf.train.Example messages, as TensorFlow Datasets writes them."""

from __future__ import annotations

import json
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import numpy as np

from scalelaw.errors import UserError
from scalelaw.sweep.disk import example
from scalelaw.sweep.disk.base import MAX_CLASSES, ImageSet, agreed, digest_of, files_at, in_threads, size_of, too_many

WHAT = "an ArrayRecord file"
ENDING = re.compile(r"\.(array_?record|arrayrecord)(-\d+-of-\d+)?$")
OPEN_FILES = 256
BLOCK = 2**16  # bytes
AT_ONCE = 16
RANDOM_ACCESS = "readahead_buffer_size:0,max_parallelism:0,index_storage_option:in_memory"


class Records(ImageSet):
    """Records of one or many files, in the order of the files' names.

    A record is a tf.train.Example with an encoded image (bytes, one) and a label (a whole number, one). How many
    classes there are is taken from the spec, or from `LABEL.labels.txt` or `features.json` beside the files, which
    TensorFlow Datasets writes: labels lie in the records, and listing reads none. The digest is that of the files'
    names, sizes, numbers of records and ends, which say where records begin.

    Args:
        path: a file, a folder of files or a pattern with *.
        image_key, label_key: names of the features.
        classes: how many, None to look beside the files.
        known: names of the classes, when other files' labels are to be kept.

    Raises:
        UserError: when there are no files, one cannot be read, nothing says how many classes there are, or they are
            numbered otherwise than those that are known.
    """

    def __init__(
        self,
        path: str,
        image_key: str,
        label_key: str,
        classes: int | None = None,
        known: tuple[str, ...] | None = None,
    ) -> None:
        self.path, self.image_key, self.label_key = path, image_key, label_key
        self.root, self.files = files_at(path, ENDING, WHAT)
        counts = in_threads(lambda name: count_of(os.path.join(self.root, name)), self.files)
        self.starts = np.cumsum([0, *counts])
        self.count = int(self.starts[-1])
        if not self.count:
            raise UserError(f"{path}: has no records; name files with images")
        too_many(path, self.count)
        names, noted = _classes(self.root, label_key)
        self.class_names = agreed(path, {known, names or None} - {None})
        self.classes = classes or noted or 0
        if not 2 <= self.classes <= MAX_CLASSES:
            raise UserError(f"[data] classes: {path} does not say how many there are; set classes, 2 to {MAX_CLASSES}")
        paths = [os.path.join(self.root, name) for name in self.files]
        facts = self.files, map(size_of, paths), counts, in_threads(end_of, paths)
        self.digest = digest_of(part for file in zip(*facts, strict=True) for part in file)
        self._readers: OrderedDict[int, Any] = OrderedDict()
        self._lock = threading.Lock()

    def name(self, row: int) -> str:
        file = int(np.searchsorted(self.starts, row, side="right")) - 1
        return f"{self.files[file]}:{row - int(self.starts[file])}"

    def read(self, row: int) -> tuple[bytes, int]:
        file = int(np.searchsorted(self.starts, row, side="right")) - 1
        (record,) = contents(self.reader(file), row - int(self.starts[file]), 1)
        image, label = self.parsed(row, record)
        if not 0 <= label < self.classes:
            raise UserError(self.misfit(row, label))
        return image, label

    def parsed(self, row: int, record: bytes | ValueError) -> tuple[bytes, int]:
        """The image and the label of a record, whatever the label is.

        Raises:
            ValueError: when the record could not be read or is no Example.
            UserError: when it is one of something else.
        """
        if isinstance(record, ValueError):
            raise record
        found = example.features(record, (self.image_key, self.label_key))
        if missing := [key for key in (self.image_key, self.label_key) if not found.get(key)]:
            raise UserError(f"{self._place(row)}: the record has no feature {missing[0]!r}; name it with image_key or "
                            "label_key")  # fmt: skip
        image, label = found[self.image_key][0], found[self.label_key][0]
        if not isinstance(image, bytes) or not isinstance(label, int):
            raise UserError(f"{self._place(row)}: {self.image_key!r} must be bytes and {self.label_key!r} a whole "
                            "number; name others with image_key or label_key")  # fmt: skip
        return image, label

    def misfit(self, row: int, label: int) -> str:
        """What a person is told of a label that is none of the classes."""
        return (f"{self._place(row)}: {self.label_key!r} is {label}; with {self.classes} classes it runs from 0 to "
                f"{self.classes - 1}")  # fmt: skip

    def _place(self, row: int) -> str:
        return os.path.join(self.root, self.name(row))

    def reader(self, file: int) -> Any:
        """The reader of a file, for any thread; the last `OPEN_FILES` stay open."""
        with self._lock:
            if file in self._readers:
                self._readers.move_to_end(file)
                return self._readers[file]
            reader = self._readers[file] = opened(os.path.join(self.root, self.files[file]))
            if len(self._readers) > OPEN_FILES:
                self._readers.popitem(last=False)  # closed when the last thread lets go of it
            return reader


def contents(reader: Any, first: int, count: int) -> Iterator[bytes | ValueError]:
    """Neighbouring records, a few in memory at a time; where one cannot be read, why."""
    for at in range(first, first + count, AT_ONCE):
        rows = range(at, min(at + AT_ONCE, first + count))
        try:
            found = reader.read(list(rows))
        except (RuntimeError, IndexError) as error:  # one damaged record takes all of a call with it
            if len(rows) == 1:
                yield ValueError(f"the record cannot be read ({error})")
            else:
                for row in rows:
                    yield from contents(reader, row, 1)
        else:
            yield from found


def opened(path: str) -> Any:
    """A reader of a file.

    Raises:
        UserError: when it cannot be read as such a file, or nothing is installed that could.
    """
    try:
        from array_record.python import array_record_module
    except ImportError as error:
        raise UserError("ArrayRecord files need array_record: pip install 'scalelaw[train]'") from error
    try:
        reader = array_record_module.ArrayRecordReader(path, RANDOM_ACCESS)
        if reader.ok():
            return reader
        reason = "damaged"
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
    raise UserError(f"{path}: not an ArrayRecord file that can be read ({reason}); mend it or leave it out")


def count_of(path: str) -> int:
    """Records of a file.

    Raises:
        UserError: as `opened`.
    """
    return int(opened(path).num_records())


def end_of(path: str) -> bytes:
    """The last two blocks of a file. Files are whole blocks long, so that sets of one size are common; here lies the
    index of where their records begin."""
    with open(path, "rb") as file:
        file.seek(max(0, size_of(path) - 2 * BLOCK))
        return file.read()


def _classes(root: str, label_key: str) -> tuple[tuple[str, ...] | None, int | None]:
    """Names and number of classes as TensorFlow Datasets notes them beside its files, where it did."""
    try:
        with open(os.path.join(root, f"{label_key}.labels.txt"), encoding="utf-8") as file:
            names = tuple(line.strip() for line in file if line.strip())
        return names, len(names)
    except (OSError, UnicodeDecodeError):
        pass
    try:
        with open(os.path.join(root, "features.json"), encoding="utf-8") as file:
            noted = json.load(file)["featuresDict"]["features"][label_key]["classLabel"]["numClasses"]
        return None, int(noted)
    except (OSError, ValueError, KeyError, TypeError):
        return None, None
