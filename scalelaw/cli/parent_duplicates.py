"""Images on disk that the parents were trained on too: near-duplicates leave the other set before anything trains.

They are told as `scalelaw dedup` tells them. The parent is trained already, so it is the other set that is cleaned; all
images at the parent's path count as its own, its held-out ones too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scalelaw.dedup.sources import Listing
    from scalelaw.runs import ResultsFolder
    from scalelaw.sweep import DataConfig, Spec
    from scalelaw.sweep.checking import Grid

RADIUS, CORRELATION = 12, 0.75  # as `scalelaw dedup` tells near-duplicates unless told otherwise
MAX_CORRUPT = 0.01  # share of the images of a path that may be unreadable
LISTS = "near-duplicates-"
MEND = "mend that, or set [parent] dedup = false"


def without_duplicates(spec: Spec, results: ResultsFolder, dry_run: bool = False) -> Spec:
    """The spec with lists of images to leave out, beside the runs, and a remark that says how many they are.

    Args:
        dry_run: only lists that are there already are taken.

    Raises:
        UserError: when images cannot be compared, or none is left; no list is then left either.
    """
    with _undone_on_error(results):
        return _without_duplicates(spec, results, dry_run)


@contextmanager
def _undone_on_error(results: ResultsFolder) -> Iterator[None]:
    """Where the user has to mend something, the lists written meanwhile go again, and the folders made for them."""
    from scalelaw.errors import UserError
    from scalelaw.runs import files

    before = set(results.root.glob(f"{LISTS}*"))
    made = [folder for folder in (results.root, *results.root.parents) if not folder.exists()]
    try:
        yield
    except UserError:
        for path in set(results.root.glob(f"{LISTS}*")) - before:
            path.unlink(missing_ok=True)
        files.remove_empty(made)
        raise


def _without_duplicates(spec: Spec, results: ResultsFolder, dry_run: bool) -> Spec:
    cleaned: dict[tuple[str, str], tuple[DataConfig, str]] = {}
    grids, remarks = [], []
    for grid in spec.grids:
        parents = None if grid.parent is None or not grid.parent.dedup else grid.parent.data
        if parents is None or "hierarchy" in (parents.source, grid.completed.source):
            grids.append(grid)
            continue
        pair = grid.completed.model_dump_json(), parents.model_dump_json()
        if pair not in cleaned:
            cleaned[pair] = _cleaned(grid, parents, results, dry_run)
        completed, remark = cleaned[pair]
        remarks.append(remark)
        grids.append(replace(grid, completed=completed))
    if not cleaned:
        return spec
    return replace(spec, grids=tuple(grids), remarks=tuple(dict.fromkeys([*spec.remarks, *remarks])))


def _cleaned(grid: Grid, parents: DataConfig, results: ResultsFolder, dry_run: bool) -> tuple[DataConfig, str]:
    """The data of a grid without near-duplicates of a parent's images, and a sentence of them."""
    from scalelaw.errors import UserError
    from scalelaw.sweep.disk import exclusion
    from scalelaw.sweep.facts import with_digest

    data, place = grid.completed, grid.locate("[data] path: ")
    later = f"near-duplicates of the images in {parents.path} will be looked for in {data.path}, and left out"
    if not data.seen or not parents.seen:
        return data, later
    try:
        lists = _lists(data, parents, results, dry_run)
    except UserError as error:
        raise UserError(*(f"{place}: near-duplicates of the parent's images: {line}" for line in error.messages)
                        ) from error  # fmt: skip
    if lists is None:
        return data, f"{later}: ids follow from them"
    named = {key: str(path) for key, path in lists.items() if exclusion.names_in(str(path))}
    try:
        found = with_digest(grid.data.model_copy(update=named))
    except UserError as error:
        lines = (line.removeprefix("[data] ") for line in error.messages)
        raise UserError(*(f"{place}: once near-duplicates of the images in {parents.path} are left out: {line}; {MEND}"
                          for line in lines)) from error  # fmt: skip
    train = found.excluded_images - data.excluded_images
    held = found.excluded_holdout_images - data.excluded_holdout_images
    return found, (f"{train:,} training and {held:,} held-out images of {data.path} are near-duplicates of images in "
                   f"{parents.path}; they are left out")  # fmt: skip


def _lists(data: DataConfig, parents: DataConfig, results: ResultsFolder, dry_run: bool) -> dict[str, Path] | None:
    """For `exclude` and `holdout_exclude` the list that names near-duplicates and what the setting left out before."""
    from scalelaw.sweep.disk import exclusion

    theirs, ours = _listing(parents, str(parents.path)), _listing(data, str(data.path))
    held = ours if data.holdout_path is None else _listing(data, data.holdout_path)
    found = {}
    for key, listing in (("exclude", ours), ("holdout_exclude", held)):
        before = getattr(data, key)
        names = exclusion.names_in(before, key) if before else set()
        sets = (str(one.digest) + one.image_key for one in (data, parents))  # files of one name and size may differ
        told = "\n".join([listing.fingerprint, theirs.fingerprint, *sets, *sorted(names)])
        told_as = hashlib.sha256(told.encode("utf-8", "surrogateescape")).hexdigest()[:12]
        path = found[key] = results.root / f"{LISTS}{told_as}.txt"
        if not path.exists():
            if dry_run:
                return None
            _write(path, listing, theirs, names, results)
    return found


def _listing(data: DataConfig, path: str) -> Listing:
    from scalelaw.dedup import sources
    from scalelaw.errors import UserError

    try:
        if data.source in ("parquet", "arrayrecord"):
            return sources.listing(Path(path), data.image_key, data.source)
        return sources.listing(Path(path), kind="folder" if data.source == "folder" else None)
    except UserError as error:
        raise UserError(*(f"{line}; {MEND}" for line in error.messages)) from error


def _write(path: Path, ours: Listing, theirs: Listing, names: set[str], results: ResultsFolder) -> None:
    """Compares two sets and writes the list, in the form of `scalelaw dedup -o`."""
    from scalelaw.cli.dedups import Reading, cache_folder, hashed_images
    from scalelaw.dedup import pairs
    from scalelaw.errors import UserError
    from scalelaw.runs import files
    from scalelaw.runs.store import is_uri

    with Reading(silent=False) as progress:
        one, other = (hashed_images(each, cache_folder(None), None, MAX_CORRUPT, progress) for each in (ours, theirs))
        found = pairs.near_duplicates(one, other, radius=RADIUS, least=CORRELATION, each=progress)
    every = sorted({*names, *(pair.name for pair in found.pairs)})
    if every and is_uri(results.address):
        raise UserError(f"{len(every)} are listed in a file, which takes a results folder on disk; list them with "
                        f"scalelaw dedup {ours.path} --against {theirs.path} -o FILE as [data] exclude and "
                        "holdout_exclude, and set [parent] dedup = false")  # fmt: skip
    facts = {"train": str(ours.path), "fingerprint": ours.fingerprint, "images": len(one.kept), "radius": RADIUS,
             "correlation": CORRELATION, "against": str(theirs.path), "against_fingerprint": theirs.fingerprint,
             "excluded": len(every)}  # fmt: skip
    text = "".join([f"# {json.dumps(facts)}\n", *(f"{name}\n" for name in every)])
    files.write_text(path, text, errors="surrogateescape")
