"""Images on disk, in parts of a few hundred that can be read one without the other, whatever they are kept in."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from numpy.typing import NDArray

from scalelaw.errors import UserError
from scalelaw.runs.files import reason
from scalelaw.sweep.disk import folder
from scalelaw.sweep.disk.base import HIDDEN

PART_IMAGES = 512
SUFFIXES = frozenset({*folder.SUFFIXES, ".jfif"})


class Picture(NamedTuple):
    """One image.

    Attributes:
        name: what the exclusion list calls it.
        read: gives its encoded bytes, or its pixels as (height, width) or (height, width, 3), 0 to 255; raises OSError
            or ValueError when it cannot.
    """

    name: str
    read: Callable[[], bytes | NDArray[Any]]


class Part(Protocol):
    """Images that are read at once; it can be pickled.

    Attributes:
        key: of its own among the parts of all sets; changes when its files do (paths, sizes, times of change).
        images: how many there are.
        encoded: whether they must be decoded, which is worth other processes.
    """

    @property
    def key(self) -> str: ...
    @property
    def images(self) -> int: ...
    @property
    def encoded(self) -> bool: ...
    def pictures(self) -> Iterator[Picture]: ...


@dataclass(frozen=True, eq=False)
class Listing:
    """All the images of a path.

    Attributes:
        path: as given.
        parts: in order; together all images, in the order of their indices.
        fingerprint: SHA-256 of the names and sizes of the files, relative to `path`.
        others: files there that are no images by their name, passed over.
        has_columns: whether images lie in one of several columns, or features, of their files.
    """

    path: Path
    parts: tuple[Part, ...]
    fingerprint: str
    others: int = 0
    has_columns: bool = False

    @property
    def images(self) -> int:
        """How many there are."""
        return sum(part.images for part in self.parts)


class File(NamedTuple):
    """A file of a listing: its path relative to the root, with slashes; bytes; nanoseconds of its last change."""

    name: str
    size: int
    changed: int


def listing(path: Path, column: str | None = None, kind: str | None = None) -> Listing:
    """The images of a folder of image files, of Parquet or ArrayRecord files, a NumPy archive, or CIFAR's binaries.

    Args:
        path: a folder, searched at any depth, or a file; of Parquet or ArrayRecord files a pattern with * too.
        column: of Parquet files, by default the one that holds images; of ArrayRecord files the feature, by default
            `image`.
        kind: "folder" (of image files), "parquet" or "arrayrecord" where that is known: those files alone are read,
            whatever lies beside them.

    Raises:
        UserError: when there is nothing there, or not of these kinds.
    """
    from scalelaw.dedup import arrays, shards

    if kind in shards.ENDINGS or shards.is_pattern(path):
        return shards.listing(path, column, kind)
    if path.is_dir():
        files = walk(path)
        shown = [file for file in files if not any(part.startswith(HIDDEN) for part in file.name.split("/"))]
        others = [] if kind == "folder" else shown
        sharded = shards.kinds(file.name for file in others)
        cifar = [file for file in others if arrays.is_cifar(file)]
        pictures = [file for file in shown if Path(file.name).suffix.lower() in SUFFIXES]
        if len(sharded) + bool(cifar) + bool(pictures) > 1:
            raise UserError(f"{path}: holds image files, Parquet files, ArrayRecord files or CIFAR's binaries side by "
                            "side; name a folder with one kind")  # fmt: skip
        if pictures:
            return Listing(path, tuple(_image_files(path, pictures)), fingerprint(pictures), len(files) - len(pictures))
        if sharded:
            return shards.listing(path, column, sharded[0], len(files))
        if cifar:
            return Listing(path, arrays.cifar(path, cifar), fingerprint(cifar), len(files) - len(cifar))
        raise UserError(f"{path}: holds no images; name a folder of image files ({' '.join(sorted(SUFFIXES))}), of "
                        "Parquet or ArrayRecord files with images, or of CIFAR's binary files")  # fmt: skip
    try:
        facts = path.stat()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({reason(error)}); name a folder or file of images") from error
    file = File(path.name, facts.st_size, facts.st_mtime_ns)
    if path.suffix == ".npz":
        return Listing(path, arrays.archive(path, file), fingerprint([file]))
    if sharded := shards.kinds([path.name]):
        return shards.listing(path, column, sharded[0])
    if arrays.is_cifar(file):
        return Listing(path, arrays.cifar(path.parent, [file]), fingerprint([file]))
    raise UserError(f"{path}: is no .npz, .parquet, .array_record or CIFAR .bin file; name one, or a folder of images")


def pictures(path: Path, column: str | None = None) -> Iterator[Picture]:
    """Every image of a path, in the order of their indices.

    Raises:
        UserError: as `listing`.
    """
    for part in listing(path, column).parts:
        yield from part.pictures()


def walk(root: Path) -> list[File]:
    """The files below a folder, sorted by name; hidden ones left out.

    Raises:
        UserError: when a folder cannot be read.
    """
    found, left = [], [""]
    while left:
        inside = left.pop()
        try:
            with os.scandir(root / inside) as entries:
                for entry in entries:
                    name = f"{inside}{entry.name}"
                    if entry.name.startswith("."):
                        continue
                    if entry.is_dir():
                        left.append(f"{name}/")
                    else:
                        found.append(_file(name, entry))
        except OSError as error:
            raise UserError(f"{root / inside}: cannot be read ({reason(error)}); make it readable") from error
    return sorted(found)


def _file(name: str, entry: os.DirEntry[str]) -> File:
    try:
        facts = entry.stat()
    except OSError:  # a link to nothing: named when it is read
        return File(name, 0, 0)
    return File(name, facts.st_size, facts.st_mtime_ns)


def fingerprint(files: Iterable[File]) -> str:
    """SHA-256 of names and sizes: equal for a copy of the files elsewhere."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.name}\0{file.size}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def key(*facts: object) -> str:
    """A name for what a part is made of."""
    return hashlib.sha256(repr(facts).encode("utf-8", "surrogateescape")).hexdigest()[:32]


@dataclass(frozen=True)
class ImageFiles:
    """A stretch of the image files below a folder."""

    root: Path
    names: tuple[str, ...]
    key: str

    @property
    def images(self) -> int:
        """One a file."""
        return len(self.names)

    @property
    def encoded(self) -> bool:
        """Always."""
        return True

    def pictures(self) -> Iterator[Picture]:
        """In the order of their names."""
        for name in self.names:
            yield Picture(name, (self.root / name).read_bytes)


def _image_files(root: Path, files: list[File]) -> Iterator[ImageFiles]:
    for at in range(0, len(files), PART_IMAGES):
        part = files[at : at + PART_IMAGES]
        yield ImageFiles(
            root.absolute(), tuple(file.name for file in part), key("files", str(root.absolute()), *map(tuple, part))
        )
