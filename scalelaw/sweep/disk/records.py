"""ArrayRecord files of tf.train.Example messages, as TensorFlow Datasets writes them."""

from __future__ import annotations

import json
import os
import re
import threading
from collections import OrderedDict
from typing import Any

import numpy as np

from scalelaw.errors import UserError
from scalelaw.sweep.disk import example
from scalelaw.sweep.disk.base import MAX_CLASSES, ImageSet, digest_of, files_at, in_threads, size_of, too_many

WHAT = "an ArrayRecord file"
ENDING = re.compile(r"\.(array_?record|arrayrecord)(-\d+-of-\d+)?$")
OPEN_FILES = 256
RANDOM_ACCESS = "readahead_buffer_size:0,max_parallelism:0,index_storage_option:in_memory"


class Records(ImageSet):
    """Records of one or many files, in the order of the files' names.

    A record is a tf.train.Example with an encoded image (bytes, one) and a label (a whole number, one). How many
    classes there are is taken from the spec, or from `LABEL.labels.txt` or `features.json` beside the files, which
    TensorFlow Datasets writes: labels lie in the records and are first read with the images. The digest is that of the
    files' names, sizes and numbers of records.

    Args:
        path: a file, a folder of files or a pattern with *.
        image_key, label_key: names of the features.
        classes: how many, None to look beside the files.

    Raises:
        UserError: when there are no files, one cannot be read, or nothing says how many classes there are.
    """

    def __init__(self, path: str, image_key: str, label_key: str, classes: int | None = None) -> None:
        self.path, self.image_key, self.label_key = path, image_key, label_key
        self.root, self.files = files_at(path, ENDING, WHAT)
        counts = in_threads(lambda name: _count(os.path.join(self.root, name)), self.files)
        self._starts = np.cumsum([0, *counts])
        self.count = int(self._starts[-1])
        if not self.count:
            raise UserError(f"{path}: has no records; name files with images")
        too_many(path, self.count)
        self.class_names, noted = _classes(self.root, label_key)
        self.classes = classes or noted or 0
        if not 2 <= self.classes <= MAX_CLASSES:
            raise UserError(f"[data] classes: {path} does not say how many there are; set classes, 2 to {MAX_CLASSES}")
        sizes = [size_of(os.path.join(self.root, name)) for name in self.files]
        self.digest = digest_of(part for facts in zip(self.files, sizes, counts, strict=True) for part in facts)
        self._readers: OrderedDict[int, Any] = OrderedDict()
        self._lock = threading.Lock()

    def name(self, row: int) -> str:
        file = int(np.searchsorted(self._starts, row, side="right")) - 1
        return f"{self.files[file]}:{row - int(self._starts[file])}"

    def read(self, row: int) -> tuple[bytes, int]:
        file = int(np.searchsorted(self._starts, row, side="right")) - 1
        inside = row - int(self._starts[file])
        try:
            record = self._reader(file).read([inside])[0]
        except (RuntimeError, IndexError) as error:
            raise ValueError(f"the record cannot be read ({error})") from error
        found = example.features(record, (self.image_key, self.label_key))
        if missing := [key for key in (self.image_key, self.label_key) if not found.get(key)]:
            raise UserError(f"{self.name(row)}: the record has no feature {missing[0]!r}; name it with image_key or "
                            "label_key")  # fmt: skip
        image, label = found[self.image_key][0], found[self.label_key][0]
        if not isinstance(image, bytes) or not isinstance(label, int):
            raise UserError(f"{self.name(row)}: {self.image_key!r} must be bytes and {self.label_key!r} a whole number")
        if not 0 <= label < self.classes:
            raise UserError(f"{self.name(row)}: {self.label_key!r} is {label}; with {self.classes} classes it runs "
                            f"from 0 to {self.classes - 1}")  # fmt: skip
        return image, label

    def _reader(self, file: int) -> Any:
        with self._lock:
            if file in self._readers:
                self._readers.move_to_end(file)
                return self._readers[file]
            reader = self._readers[file] = _opened(os.path.join(self.root, self.files[file]))
            if len(self._readers) > OPEN_FILES:
                self._readers.popitem(last=False)  # closed when the last thread lets go of it
            return reader


def _opened(path: str) -> Any:
    try:
        from array_record.python import array_record_module
    except ImportError as error:
        raise UserError("source = 'arrayrecord' needs array_record: pip install 'scalelaw[train]'") from error
    try:
        reader = array_record_module.ArrayRecordReader(path, RANDOM_ACCESS)
        if reader.ok():
            return reader
        reason = "damaged"
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
    raise UserError(f"{path}: not an ArrayRecord file that can be read ({reason})")


def _count(path: str) -> int:
    return int(_opened(path).num_records())


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
