"""A folder for each class, images below it: the layout of ImageNet as it is usually unpacked."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scalelaw.errors import UserError
from scalelaw.sweep.disk.base import HIDDEN, MAX_CLASSES, ImageSet, digest_of, in_threads, too_many

SUFFIXES = (".jpg", ".jpeg", ".jpe", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pnm")
MOST_LEVELS = 8


class Folder(ImageSet):
    """Images in `path`/CLASS/..., classes in the order of their names by code point.

    Files count as images by the ending of their name; what begins with . or _ does not count. The digest is that of all
    names and sizes: reading millions of files for it would take hours.

    Args:
        path: the folder.
        known: names of the classes, when another folder's labels are to be kept.

    Raises:
        UserError: when there is no such folder, or no class in it, or a class without images.
    """

    def __init__(self, path: str, known: tuple[str, ...] | None = None) -> None:
        self.path = path
        try:
            present = sorted(
                entry.name for entry in os.scandir(path) if not entry.name.startswith(HIDDEN) and entry.is_dir()
            )
        except OSError as error:
            raise UserError(f"[data] path: {path} cannot be read ({error.strerror}); name a folder with a folder of "
                            "images for each class") from error  # fmt: skip
        names = tuple(present) if known is None else known
        if not present or (known is None and len(present) < 2):
            raise UserError(f"[data] path: {path} has {len(present)} folders; give it one for each class, two at "
                            "least, images in them")  # fmt: skip
        if len(names) > MAX_CLASSES:
            raise UserError(f"[data] path: {path} has {len(names)} folders; a class each, at most {MAX_CLASSES}")
        if foreign := sorted(set(present) - set(names)):
            raise UserError(
                f"{path}: class {foreign[0]!r} is not among the training images' {len(names)}; leave it out"
            )
        self.class_names, self.classes, self._classes = names, len(names), names
        listed = dict(zip(present, in_threads(lambda name: _below(os.path.join(path, name)), present), strict=True))
        if empty := [name for name in present if not len(listed[name][0])]:
            raise UserError(f"{path}: {len(empty)} classes have no image (first: {empty[0]}); names of images end in "
                            f"{', '.join(SUFFIXES)}")  # fmt: skip
        counts = [len(listed[name][0]) if name in listed else 0 for name in names]
        self.starts = np.concatenate([[0], np.cumsum(counts)])
        self.count = int(self.starts[-1])
        too_many(path, self.count)
        self._files = [listed[name][0] if name in listed else _NONE for name in names]
        self.digest = digest_of(_facts(present, listed))

    def name(self, row: int) -> str:
        label = self.label(row)
        return f"{self._classes[label]}/{_decoded(self._files[label][row - int(self.starts[label])])}"

    def label(self, row: int) -> int:
        """The row's class."""
        return int(np.searchsorted(self.starts, row, side="right")) - 1

    def read(self, row: int) -> tuple[bytes, int]:
        with open(os.path.join(self.path, *self.name(row).split("/")), "rb") as file:
            return file.read(), self.label(row)


_NONE: NDArray[Any] = np.empty(0, "S1")


def _below(path: str) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Images below a folder: names relative to it (bytes, sorted; fixed width takes little memory), sizes."""
    found: list[tuple[bytes, int]] = []
    waiting = [""]
    while waiting:
        inside = waiting.pop()
        if inside.count("/") > MOST_LEVELS:
            raise UserError(f"{os.path.join(path, inside)}: lies more than {MOST_LEVELS} folders deep; does a link "
                            "lead back?")  # fmt: skip
        try:
            with os.scandir(os.path.join(path, inside)) as entries:
                for entry in entries:
                    if entry.name.startswith(HIDDEN):
                        continue
                    name = f"{inside}{entry.name}"
                    if entry.is_dir():
                        waiting.append(f"{name}/")
                    elif entry.name.lower().endswith(SUFFIXES):
                        found.append((os.fsencode(name), entry.stat().st_size))
        except OSError as error:
            raise UserError(
                f"{error.filename or path}: cannot be read ({error.strerror}); mend it or take it out"
            ) from error
    found.sort()
    return np.array([name for name, _ in found], "S") if found else _NONE, np.array(
        [size for _, size in found], np.int64
    )


def _facts(present: list[str], listed: dict[str, tuple[NDArray[Any], NDArray[np.int64]]]) -> Any:
    for name in present:
        files, sizes = listed[name]
        yield name
        for file, size in zip(files.tolist(), sizes.tolist(), strict=True):
            yield file
            yield size


def _decoded(name: Any) -> str:
    return os.fsdecode(bytes(name))
