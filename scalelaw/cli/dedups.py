"""`scalelaw dedup`: near-duplicates of held-out images among training images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from scalelaw.cli.tables import Json, print_json
from scalelaw.text import columns

if TYPE_CHECKING:
    from scalelaw.dedup.hashing import Kept
    from scalelaw.dedup.pairs import Found, Hashed
    from scalelaw.dedup.sources import Listing

SHOWN = 20
SUSPICIOUS, FEW = 0.1, 10
"""Share of the training images, and their number, from which on so many near-duplicates are doubted."""
NAME_WIDTH = 44


def dedup(
    train: Positional[Path],
    against: Path | None = None,
    within: bool = False,
    out: Annotated[Path | None, arg(aliases=["-o"])] = None,
    radius: int = 12,
    correlation: float = 0.75,
    max_corrupt: float = 0.01,
    decoys: bool = False,
    column: str | None = None,
    workers: int | None = None,
    cache: Path | None = None,
    json: Json = False,
) -> int:
    """Lists the training images that are near-duplicates of held-out ones: resized, recompressed, cropped, mirrored.

    Each path is a folder of image files (at any depth), a file, folder or pattern with * of Parquet as on Hugging Face
    or of ArrayRecord, a NumPy archive with `images`, or CIFAR's binary files. A killed command goes on where it was.

    Args:
        train: The images to search among.
        against: The held-out images.
        within: Also list training images that are near-duplicates of earlier training images.
        out: Write the list of images to leave out here: .parquet, .csv, or .txt with a name a line.
        radius: Bits of 64 in which the perceptual hashes of near-duplicates may differ.
        correlation: Of their edges, once aligned, from which on two images are one.
        max_corrupt: Stop when more than this share of the images of a path cannot be read.
        decoys: Also search with the held-out images upside down: what is found so is found by chance.
        column: The column of images in Parquet files, by default the one there is; the feature of ArrayRecord files,
            by default image.
        workers: Processes that decode; by default one for each core.
        cache: Folder for thumbnails, a kilobyte an image; by default in the user's cache.
        json: Print one JSON object and nothing else.
    """
    from scalelaw.dedup import exclusions, pairs, sources
    from scalelaw.errors import UserError

    mistakes = []
    if against is None and not within:
        mistakes.append("dedup: nothing to compare with; name held-out images with --against, or add --within")
    if decoys and against is None:
        mistakes.append("--decoys: turns held-out images upside down; name them with --against")
    if not 0 <= radius <= 20:
        mistakes.append(f"--radius {radius}: must be 0 to 20 of 64 bits")
    if not 0 < correlation <= 1:
        mistakes.append(f"--correlation {correlation}: must be above 0 and at most 1")
    if not 0 <= max_corrupt <= 1:
        mistakes.append(f"--max-corrupt {max_corrupt}: must be a share, 0 to 1")
    if workers is not None and workers < 1:
        mistakes.append(f"--workers {workers}: must be at least 1")
    if mistakes:
        raise UserError(*mistakes)
    if out is not None:
        exclusions.check(out)
    listings = [sources.listing(path, column) for path in (train, against) if path is not None]
    if column is not None and not any(listing.has_columns for listing in listings):
        paths = " and ".join(str(listing.path) for listing in listings)
        raise UserError(f"--column {column}: {paths} {'have' if len(listings) > 1 else 'has'} no columns, which "
                        "Parquet and ArrayRecord files have; leave it out")  # fmt: skip
    with Reading(json) as progress:
        hashed = [hashed_images(listing, cache_folder(cache), workers, max_corrupt, progress) for listing in listings]
        settings: dict[str, Any] = {"radius": radius, "least": correlation, "each": progress}
        found: dict[str, Found] = {}
        if against is not None:
            found["against"] = pairs.near_duplicates(hashed[0], hashed[1], **settings)
        if decoys:
            found["decoys"] = pairs.near_duplicates(hashed[0], hashed[1], upside_down=True, **settings)
        if within:
            found["within"] = pairs.near_duplicates(hashed[0], None, **settings)
    answer = _answer(hashed, found, radius, correlation)
    if out is not None:
        listed = {pair.index: pair for name in ("within", "against") if name in found for pair in found[name].pairs}
        exclusions.write(out, [listed[index] for index in sorted(listed)], {**answer["facts"], "excluded": len(listed)})
        answer["written"] = str(out)
    if json:
        print_json(answer)
    else:
        print("\n".join(_lines(hashed, found, answer)))
    return 0


def cache_folder(given: Path | None) -> Path:
    from scalelaw.runs.files import user_cache

    return given or user_cache("dedup")


def hashed_images(listing: Listing, cache: Path, workers: int | None, max_corrupt: float, progress: Reading) -> Hashed:
    """Thumbnails and hashes of a path's images; corrupt ones are named, and too many of them stop it."""
    from scalelaw.dedup import hashing, pairs
    from scalelaw.errors import UserError
    from scalelaw.launch.accelerators import cores

    path, done = listing.path, 0

    def each(images: int) -> None:
        nonlocal done
        done += images
        progress(f"reading {path}", done, listing.images)

    kept = hashing.keep(listing, cache, workers=workers or len(cores()), each=each)
    if len(kept.mistakes) > max_corrupt * len(kept):
        first = kept.mistakes[0]
        raise UserError(f"{path}: {len(kept.mistakes):,} of {len(kept):,} images cannot be read, more than "
                        f"--max-corrupt {max_corrupt:g}; the first is {first.name} ({first.reason})")  # fmt: skip
    return pairs.hashed(kept)


def _answer(hashed: list[Hashed], found: dict[str, Found], radius: int, least: float) -> dict[str, Any]:
    from dataclasses import asdict

    train = hashed[0].kept.listing
    facts = {"train": str(train.path), "fingerprint": train.fingerprint, "images": len(hashed[0].kept),
             "radius": radius, "correlation": least}  # fmt: skip
    if len(hashed) > 1:
        facts |= {
            "against": str(hashed[1].kept.listing.path),
            "against_fingerprint": hashed[1].kept.listing.fingerprint,
        }
    excluded = {pair.index for name in ("against", "within") if name in found for pair in found[name].pairs}
    answer: dict[str, Any] = {"facts": facts, "excluded": len(excluded), "train": _source(hashed[0])}
    if len(hashed) > 1:
        answer["held_out"] = _source(hashed[1])
    for name, one in found.items():
        answer[name] = {"compared": one.compared, "looked_at": one.looked_at, "cut": one.cut,
                        "pairs": [asdict(pair) | {"name": _shown(pair.name), "other": _shown(pair.other)}
                                  for pair in one.pairs]}  # fmt: skip
    answer["warnings"] = list(_warnings(found, len(excluded), len(hashed[0].kept)))
    return answer


def _warnings(found: dict[str, Found], excluded: int, images: int) -> Iterator[str]:
    for name, one in found.items():
        if one.cut:
            yield f"{one.cut:,} images have more than 32 look-alikes ({name}), of which the nearest 32 do not fit"
    if excluded > max(FEW, SUSPICIOUS * images):
        yield (f"{excluded / images:.0%} of the training images is much; look at some first: tiny or schematic images "
               "look alike without being copies")  # fmt: skip


def _source(one: Hashed) -> dict[str, Any]:
    kept = one.kept
    return {"path": str(kept.listing.path), "images": len(kept), "plain": int(one.plain.sum()),
            "other_files": kept.listing.others, "corrupt": [fault._asdict() for fault in kept.mistakes]}  # fmt: skip


def _lines(hashed: list[Hashed], found: dict[str, Found], answer: dict[str, Any]) -> list[str]:
    lines = []
    for one in hashed:
        lines += _about(one.kept, int(one.plain.sum()))
    for name, heading in (("against", "held-out image"), ("within", "earlier training image")):
        if name in found:
            lines += _table(found[name], heading)
    if "decoys" in found:
        chance = len(found["decoys"].pairs)
        lines.append(f"by chance: {chance:,} training images fit a held-out one that is upside down, "
                     f"of {found['decoys'].compared:.3g} pairs")  # fmt: skip
    lines.append(f"{answer['excluded']:,} of {len(hashed[0].kept):,} training images to leave out"
                 + (f", listed in {answer['written']}" if "written" in answer else ""))  # fmt: skip
    lines += [f"warning: {text}" for text in answer["warnings"]]
    return lines


def _about(kept: Kept, plain: int) -> list[str]:
    notes = [f"{kept.listing.path}: {len(kept):,} images"]
    if plain:
        notes.append(f"{plain:,} too plain for a hash, compared byte by byte only")
    if kept.listing.others:
        notes.append(f"{kept.listing.others:,} other files passed over")
    lines = [", ".join(notes)]
    faults = kept.mistakes
    lines += [f"  corrupt: {fault.name} ({fault.reason})" for fault in faults[:SHOWN]]
    if len(faults) > SHOWN:
        lines.append(f"  and {len(faults) - SHOWN:,} more corrupt images (--json names all)")
    return lines


def _table(found: Found, heading: str) -> list[str]:
    if not found.pairs:
        return [f"no near-duplicates among {found.compared:.3g} pairs"]
    rows = [("training image", heading, "kind", "bits", "correlation")]
    rows += [(_short(pair.name), _short(pair.other), pair.kind, str(pair.distance), f"{pair.correlation:.3f}")
             for pair in found.pairs[:SHOWN]]  # fmt: skip
    lines = list(columns(rows, left=(0, 1, 2)))
    if len(found.pairs) > SHOWN:
        lines.append(f"and {len(found.pairs) - SHOWN:,} more (-o FILE or --json lists all)")
    kinds = {kind: sum(pair.kind == kind for pair in found.pairs) for kind in ("identical", "copy", "mirrored")}
    counts = ", ".join(f"{count:,} {kind}" for kind, count in kinds.items() if count)
    lines.append(f"{len(found.pairs):,} near-duplicates ({counts}) among {found.compared:.3g} pairs, "
                 f"{found.looked_at:,} of them looked at")  # fmt: skip
    return lines


def _shown(name: str) -> str:
    """A name as text that can be printed: bytes that are no UTF-8 are marks."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _short(name: str) -> str:
    name = _shown(name)
    return name if len(name) <= NAME_WIDTH else f"...{name[3 - NAME_WIDTH :]}"


class Reading:
    """A bar on a terminal, now and then a line elsewhere, on standard error; nothing beside JSON."""

    def __init__(self, silent: bool) -> None:
        import time

        from rich.console import Console
        from rich.progress import Progress

        self._console = Console(stderr=True)
        self._silent = silent
        self._terminal = self._console.is_terminal and not silent
        self._bar = Progress(console=self._console, transient=True, disable=not self._terminal)
        self._task = self._bar.add_task("")
        self._said, self._clock = time.monotonic(), time.monotonic

    def __enter__(self) -> Reading:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def __call__(self, doing: str, done: int, total: int) -> None:
        if self._terminal:
            self._bar.update(self._task, description=doing, completed=done, total=total)
        elif not self._silent and self._clock() - self._said > 15:
            self._said = self._clock()
            self._console.print(f"{doing}: {done:,} of {total:,}", highlight=False)
