"""Images in rows of one or many files, Parquet or ArrayRecord: the same files, in the same order, as training reads."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from scalelaw.dedup import array_records, parquet
from scalelaw.dedup.sources import File, Listing, Part, fingerprint
from scalelaw.errors import UserError
from scalelaw.sweep.disk import base, records
from scalelaw.sweep.disk import parquet as trained

ENDINGS = {"parquet": trained.ENDING, "arrayrecord": records.ENDING}
ANY = re.compile("")
WHAT = {"parquet": "Parquet files", "arrayrecord": "ArrayRecord files"}


def kinds(names: Iterable[str]) -> list[str]:
    """Which of `ENDINGS` files are by their names."""
    shown = [name for name in names if not Path(name).name.startswith(base.HIDDEN)]
    return [kind for kind, ending in ENDINGS.items() if any(map(ending.search, shown))]


def is_pattern(path: Path) -> bool:
    """Whether a path stands for other files than one of its own name."""
    return base.is_pattern(str(path)) and not path.exists()


def listing(path: Path, column: str | None, kind: str | None, beside: int | None = None) -> Listing:
    """The images of a file, a folder or a pattern.

    Args:
        kind: None to tell it from the names.
        beside: how many files the folder holds, these among them.

    Raises:
        UserError: when there are no files, they are of several kinds, or one cannot be read.
    """
    root, names = base.found_at(str(path), ANY if kind is None else ENDINGS[kind])
    if not names:
        what = " or ".join(WHAT.values()) if kind is None else WHAT[kind]
        raise UserError(f"{path}: there are no {what}; name a file, a folder of them or a pattern with *")
    if kind is None:
        kind = _kind(path, names)
    files = [_file(root, name) for name in names]
    parts: tuple[Part, ...]
    if kind == "parquet":
        parts, told = parquet.parts(Path(root), files, column), fingerprint(files)
    else:
        parts, told = array_records.parts(Path(root), files, column), array_records.told_by(Path(root), files)
    return Listing(path, parts, told, 0 if beside is None else beside - len(files), has_columns=True)


def _kind(path: Path, names: list[str]) -> str:
    every = {name: kinds([name]) for name in names}
    other = next((name for name, found in every.items() if found != every[names[0]] or not found), None)
    if other is not None:
        what = "of another kind" if every[other] else "no Parquet or ArrayRecord file by its name"
        raise UserError(f"{path}: {other} is {what}; name files that end alike, in .parquet or .array_record")
    return every[names[0]][0]


def _file(root: str, name: str) -> File:
    facts = (Path(root) / name).stat()
    return File(name, facts.st_size, facts.st_mtime_ns)
