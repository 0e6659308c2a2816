"""Row groups of Parquet files, kept where one image can be reached: in memory, or unpacked into a folder.

A row group can only be read whole, and examples come in random order: without keeping them, every image would cost the
reading of a hundred.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np

from scalelaw.errors import UserError

HELD_BYTES = 2**30
WORD = 8  # bytes of an int64


class InMemory:
    """The row groups read last, up to `HELD_BYTES`.

    Args:
        read_group: (file, group) -> images, an array of Arrow's; called by one thread for each group.
    """

    def __init__(self, read_group: Callable[[int, int], Any]) -> None:
        self._read_group = read_group
        self._groups: OrderedDict[tuple[int, int], Any] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()
        self._reading: dict[tuple[int, int], threading.Lock] = {}

    def image(self, file: int, group: int, row: int) -> bytes | None:
        """One image of a row group; None where the file has none."""
        image: bytes | None = self._group((file, group))[row].as_py()
        return image

    def _group(self, key: tuple[int, int]) -> Any:
        with self._lock:
            if key in self._groups:
                self._groups.move_to_end(key)
                return self._groups[key]
            mine = self._reading.setdefault(key, threading.Lock())
        with mine:
            with self._lock:
                if key in self._groups:  # another thread has read it meanwhile
                    return self._groups[key]
            images = self._read_group(*key)
            with self._lock:
                if key in self._groups:  # dropped and read anew by another while this one waited
                    self._bytes -= self._groups.pop(key).nbytes
                self._groups[key] = images
                self._bytes += images.nbytes
                self._reading.pop(key, None)
                while len(self._groups) > 1 and self._bytes > HELD_BYTES:
                    self._bytes -= self._groups.popitem(last=False)[1].nbytes
        return images


class Unpacked:
    """Every row group as a file of its own, written when it is first needed: offsets, then the images.

    Several processes may share the folder.

    Args:
        folder: for this set of images alone; made where it is missing.
        read_group: as above.
    """

    def __init__(self, folder: str, read_group: Callable[[int, int], Any]) -> None:
        self.folder, self._read_group = folder, read_group

    def image(self, file: int, group: int, row: int) -> bytes | None:
        """One image of a row group; None where the file has none."""
        path = os.path.join(self.folder, f"{file:05d}-{group:05d}")
        try:
            return _image(path, row)
        except FileNotFoundError:
            self._write(path, self._read_group(file, group))
        return _image(path, row)

    def _write(self, path: str, images: Any) -> None:
        content = [image or b"" for image in images.to_pylist()]
        sizes = np.array([len(image) for image in content], np.int64)
        ends = (len(content) + 1) * WORD + np.concatenate([[0], np.cumsum(sizes)])
        temporary = None
        try:
            os.makedirs(self.folder, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self.folder, prefix=".", delete=False) as out:
                temporary = out.name
                out.write(ends.astype("<i8").tobytes())
                out.writelines(content)
                out.flush()
                os.fsync(out.fileno())  # a power cut leaves a whole file or none
            os.replace(temporary, path)
        except OSError as error:
            if temporary is not None:
                os.unlink(temporary)
            raise UserError(f"[data] cache: {self.folder} cannot be written ({error.strerror}); make room for all "
                            "images, or leave cache out") from error  # fmt: skip


def _image(path: str, row: int) -> bytes | None:
    with open(path, "rb", buffering=0) as file:
        file.seek(row * WORD)
        start, end = np.frombuffer(file.read(2 * WORD), "<i8").tolist()
        file.seek(start)
        return file.read(end - start) or None
