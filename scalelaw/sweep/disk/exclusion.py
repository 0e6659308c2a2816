"""Lists of training images to leave out, as `scalelaw dedup` writes them, or by hand: a name a line."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from scalelaw.errors import UserError
from scalelaw.sweep.disk.base import digest_of

FACTS = "# {"  # how the first line of a list from dedup begins: what it was made of


def without(
    place: str | None, path: str, names: Iterable[str], order: NDArray[np.int64], key: str = "exclude"
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """The rows that an exclusion list leaves, and the names that it takes, sorted.

    Args:
        place: the list, or None; names of other images in it count for nothing.
        path: where the images lie, for messages.
        names: of all images, in the order of their rows.
        order: rows of the images that could train, or be held out.
        key: of [data] that names the list.

    Raises:
        UserError: when the list cannot be read, or none of its names is an image, or it leaves no row.
    """
    if place is None:
        return order, ()
    wanted = names_in(place, key)
    found, first = {}, ""
    for row, name in enumerate(names):
        first = first or name
        if name in wanted:
            found[row] = name
    if wanted and not found:
        raise UserError(f"[data] {key}: none of the {len(wanted)} names in {place} is an image of {path}; they are "
                        f"written like {first!r}")  # fmt: skip
    out = np.isin(order, np.fromiter(found, np.int64, len(found)))
    if len(order) and out.all():
        what = "held-out" if key == "holdout_exclude" else "training"
        raise UserError(f"[data] {key}: {place} leaves out every {what} image; shorten it")
    return order[~out], tuple(sorted(found[row] for row in order[out].tolist()))


def digest(excluded: tuple[str, ...]) -> str | None:
    """SHA-256 of the names left out, None when all are in."""
    return digest_of(excluded) if excluded else None


def names_in(place: str, key: str = "exclude") -> set[str]:
    """The names in a list: the column `name` of Parquet or CSV, or the lines of a text."""
    path = Path(place)
    try:
        if path.suffix == ".parquet":
            return set(map(text_of, pq.read_table(path, columns=["name"])["name"].to_pylist()))
        text = path.read_text(encoding="utf-8-sig", errors="surrogateescape")
        text = text.partition("\n")[2] if text.startswith(FACTS) else text
        if path.suffix == ".csv":
            return {row["name"] for row in csv.DictReader(io.StringIO(text, newline=""))}
        return {line for line in text.split("\n") if line.strip()}
    except OSError as error:
        said = f"cannot be read ({error.strerror or error}); name the list that scalelaw dedup wrote"
        raise UserError(f"[data] {key}: {place} {said}") from error
    except (KeyError, ValueError, csv.Error, pa.ArrowException) as error:
        raise UserError(
            f"[data] {key}: {place} has no column 'name'; name the list that scalelaw dedup wrote"
        ) from error


def text_of(name: object) -> str:
    """A name in a column of Parquet: binary where one is no UTF-8, whose bytes become surrogates."""
    return name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else str(name)
