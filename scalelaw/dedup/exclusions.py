"""The list of images to leave out of training: written for the trainer, and for people."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import Field, asdict, dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow as pa

from scalelaw.dedup.pairs import Pair
from scalelaw.errors import UserError
from scalelaw.runs import files
from scalelaw.sweep.disk.exclusion import text_of

KINDS = (".parquet", ".csv", ".txt")
_MARK = "# "


@dataclass(frozen=True)
class Exclusions:
    """Images to leave out.

    Attributes:
        indices: among all images of the path, ascending.
        names: of the same images.
        facts: of what the list was made: `train` (path), `fingerprint` (SHA-256 of the names and sizes of its files),
            `images` (how many it has), and how near-duplicates were told.
    """

    indices: tuple[int, ...]
    names: tuple[str, ...]
    facts: dict[str, Any]


def write(path: Path, pairs: Sequence[Pair], facts: dict[str, Any]) -> None:
    """Writes a list: Parquet or CSV with each image's near-duplicate beside it, or text, an image's name a line.

    Names that are no UTF-8 are written as the bytes that they are on disk; columns of Parquet that hold one are binary.

    Args:
        path: ends in .parquet, .csv or .txt.
        pairs: by index, an image once.
        facts: JSON; kept in the file.

    Raises:
        UserError: when it ends otherwise or cannot be written.
    """
    check(path)
    told = json.dumps(facts)
    if path.suffix == ".parquet":
        table = pa.table([_array(field, pairs) for field in fields(Pair)], [field.name for field in fields(Pair)])
        files.write_parquet(path, table.replace_schema_metadata({"scalelaw.dedup": told}))
        return
    text = io.StringIO()
    text.write(f"{_MARK}{told}\n")
    if path.suffix == ".csv":
        rows = csv.DictWriter(text, [field.name for field in fields(Pair)], lineterminator="\n")
        rows.writeheader()
        rows.writerows(asdict(pair) for pair in pairs)
    else:
        text.writelines(f"{pair.name}\n" for pair in pairs)
    files.write_text(path, text.getvalue(), errors="surrogateescape")


def check(path: Path) -> None:
    """Refuses a path that no list can be written to.

    Raises:
        UserError: when it ends in none of .parquet, .csv and .txt.
    """
    if path.suffix not in KINDS:
        raise UserError(f"-o {path}: ends in none of {', '.join(KINDS)}; choose one")


def read(path: Path) -> Exclusions:
    """Reads a list that `write` has written; a text list has no indices.

    Raises:
        UserError: when it is missing, damaged or something else.
    """
    check(path)
    if path.suffix == ".parquet":
        table = files.read_parquet(path)
        told = (table.schema.metadata or {}).get(b"scalelaw.dedup")
        if told is None or not {"index", "name"} <= set(table.column_names):
            raise UserError(f"{path}: was not written by `scalelaw dedup`; write it again")
        names = tuple(map(text_of, table["name"].to_pylist()))
        return Exclusions(tuple(table["index"].to_pylist()), names, json.loads(told))
    try:
        first, *lines = path.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        facts = json.loads(first.removeprefix(_MARK))
        if path.suffix == ".txt":
            return Exclusions((), tuple(lines), facts)
        rows = list(csv.DictReader(lines))
        return Exclusions(tuple(int(row["index"]) for row in rows), tuple(row["name"] for row in rows), facts)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({files.reason(error)})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: was not written by `scalelaw dedup`; write it again") from error


def _array(field: Field[Any], pairs: Sequence[Pair]) -> pa.Array:
    values = [getattr(pair, field.name) for pair in pairs]
    kind = {"int": pa.int64(), "float": pa.float64()}.get(str(field.type), pa.string())
    try:
        return pa.array(values, kind)
    except UnicodeEncodeError:  # a text of Parquet is UTF-8
        return pa.array([value.encode("utf-8", "surrogateescape") for value in values], pa.binary())
