"""Near-duplicates: pairs of close hashes whose thumbnails show the same image, and files that are equal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from scalelaw.dedup import candidates, verify
from scalelaw.dedup.candidates import Candidates
from scalelaw.dedup.hashes import RADIUS, edges, hashes, views
from scalelaw.dedup.hashing import Kept
from scalelaw.dedup.search import Hashes, Indices
from scalelaw.dedup.thumbnails import Thumbnails

ASKED_AT_ONCE = 1 << 18
"""Images whose views are searched for together; each view's hash is 8 bytes, and there are 34."""
PAIRS_AT_ONCE = 1 << 15
Kind = Literal["identical", "copy", "mirrored"]
Each = Callable[[str, int, int], object]


@dataclass(frozen=True)
class Pair:
    """An image that has a near-duplicate.

    Attributes:
        index, name: of the image, among all of its path.
        other_index, other: of its nearest near-duplicate.
        kind: equal bytes, a copy, or a mirrored copy.
        distance: differing bits of 64, at the nearest view.
        correlation: of the edges, once aligned; 1 where identical.
    """

    index: int
    name: str
    other_index: int
    other: str
    kind: Kind
    distance: int
    correlation: float


@dataclass(frozen=True, eq=False)
class Hashed:
    """Kept images with their hashes.

    Attributes:
        kept: the thumbnails.
        values: (images,) hashes.
        plain: (images,) which are too featureless to be compared but byte by byte.
    """

    kept: Kept
    values: Hashes
    plain: NDArray[np.bool_]

    @property
    def comparable(self) -> Indices:
        """Indices of the images that are neither corrupt nor plain."""
        return np.flatnonzero(~self.plain & ~self.kept.corrupt)


@dataclass(frozen=True)
class Found:
    """What was found.

    Attributes:
        pairs: by index; every image with a near-duplicate once, beside its nearest.
        compared: pairs of images whose hashes are compared, in all views.
        looked_at: pairs within the radius whose thumbnails were laid over one another.
        cut: images with more candidates than are looked at, none of which fit.
    """

    pairs: tuple[Pair, ...]
    compared: int
    looked_at: int
    cut: int


def hashed(kept: Kept) -> Hashed:
    """The hashes of kept thumbnails."""
    values, plain = np.empty(len(kept), np.uint64), np.empty(len(kept), bool)
    for first, part in kept.thumbnails():
        values[first : first + len(part)], plain[first : first + len(part)] = hashes(part)
    return Hashed(kept, values, plain & ~kept.corrupt)


def near_duplicates(
    train: Hashed,
    against: Hashed | None,
    *,
    radius: int = RADIUS,
    least: float = verify.LEAST,
    upside_down: bool = False,
    each: Each = lambda doing, done, total: None,
) -> Found:
    """The images of `train` that have near-duplicates in `against`; None for those in `train` that come before them.

    Args:
        radius: of the hashes, bits of 64.
        least: correlation from which on two images are one.
        upside_down: turns the other images upside down first. Photographs have no such copies, so what is then found is
            found by chance; equal bytes are left out.
        each: gets what is being done, how much of it is done, and how much there is.
    """
    within = against is None
    other = train if against is None else against
    best = Best.none(len(train.kept))
    if not upside_down:
        _identical(best, train.kept, None if within else other.kept)
    mine, asked = train.comparable, other.comparable
    looked_at = 0
    cut = np.zeros(len(mine), bool)
    for at in range(0, len(asked), ASKED_AT_ONCE):
        each("searching", at, len(asked))
        some = asked[at : at + ASKED_AT_ONCE]
        wanted = views(_turned(other.kept.some(some), upside_down))
        near = candidates.nearest(train.values[mine], wanted, radius, within=within)
        cut |= near.cut
        image, partner = mine[near.image], some[near.asked]
        fits = best.view[image] != IDENTICAL
        fits &= (image > partner) | (not within)
        todo = Candidates(image[fits], partner[fits], near.view[fits], near.distance[fits], near.cut)
        looked_at += _look(best, train.kept, other.kept, todo, least, upside_down, each)
    cut &= best.other[mine] < 0
    compared = len(mine) * (len(mine) - 1) // 2 if within else len(mine) * len(asked)
    return Found(_pairs(best, train.kept, other.kept), compared, looked_at, int(cut.sum()))


IDENTICAL = -1  # in place of a view


@dataclass(frozen=True, eq=False)
class Best:
    """Every image's nearest near-duplicate so far, each (images,).

    Attributes:
        other: its index, -1 for none.
        view: the view that was near, or IDENTICAL.
        distance: differing bits, 255 for none.
        correlation: of the edges.
    """

    other: Indices
    view: Indices
    distance: NDArray[np.uint8]
    correlation: NDArray[np.float64]

    @staticmethod
    def none(images: int) -> Best:
        """No near-duplicates."""
        return Best(np.full(images, -1), np.zeros(images, np.int64), np.full(images, 255, np.uint8), np.zeros(images))


def _pairs(best: Best, train: Kept, other: Kept) -> tuple[Pair, ...]:
    rows = np.flatnonzero(best.other >= 0)
    names, others = train.names(rows), other.names(best.other[rows])
    found = []
    for i in rows.tolist():
        j, view = int(best.other[i]), int(best.view[i])
        kind: Kind = "identical" if view == IDENTICAL else "mirrored" if view >= len(edges()) else "copy"
        found.append(Pair(i, names[i], j, others[j], kind, int(best.distance[i]), float(best.correlation[i])))
    return tuple(found)


def _identical(best: Best, train: Kept, against: Kept | None) -> None:
    """Notes images of equal bytes: of each the first one like it, or before it."""
    other = train if against is None else against
    kind = np.dtype((np.void, 16))
    mine = np.ascontiguousarray(train.digests).view(kind).ravel()
    theirs = np.ascontiguousarray(other.digests).view(kind).ravel()
    rows = np.flatnonzero(~other.corrupt)
    distinct, first = np.unique(theirs[rows], return_index=True)
    if not len(distinct):
        return
    at = np.minimum(np.searchsorted(distinct, mine), len(distinct) - 1)
    match = rows[first[at]]
    same = distinct[at] == mine  # a corrupt image's digest is 0, which no other has
    if against is None:
        same &= match < np.arange(len(mine))
    best.other[same], best.view[same] = match[same], IDENTICAL
    best.distance[same], best.correlation[same] = 0, 1.0


def _look(best: Best, train: Kept, other: Kept, todo: Candidates, least: float, upside_down: bool, each: Each) -> int:
    """Lays candidates over one another, an image's nearest first and no more once one fits. Returns how many."""
    total, looked_at = len(todo), 0
    mine, theirs = np.unique(todo.image), np.unique(todo.asked)
    first, second = train.some(mine), _turned(other.some(theirs), upside_down)
    left = np.arange(total)
    while len(left := left[todo.distance[left] < best.distance[todo.image[left]]]):
        image = todo.image[left]
        new = np.ones(len(left), bool)
        new[1:] = image[1:] != image[:-1]
        for at in range(0, int(new.sum()), PAIRS_AT_ONCE):
            each("comparing", total - len(left) + at, total)
            some = left[new][at : at + PAIRS_AT_ONCE]
            a = first[np.searchsorted(mine, todo.image[some])]
            b = second[np.searchsorted(theirs, todo.asked[some])]
            correlation = _laid_over(a, b, todo.view[some])
            fits = some[correlation >= least]
            rows = todo.image[fits]
            best.other[rows], best.view[rows] = todo.asked[fits], todo.view[fits]
            best.distance[rows], best.correlation[rows] = todo.distance[fits], correlation[correlation >= least]
        looked_at += int(new.sum())
        left = left[~new]
    return looked_at


def _laid_over(first: Thumbnails, second: Thumbnails, view: Indices) -> NDArray[np.float64]:
    """Correlations from the views at which the hashes were near; mirrored views come after the others."""
    mirrored = view >= len(edges())
    second = np.where(mirrored[:, None, None], second[:, :, ::-1], second)
    start = edges()[view % len(edges())]
    start[mirrored] = start[mirrored][:, [0, 1, 3, 2]]  # left is right
    return verify.correlations(first, second, start)


def _turned(thumbs: Thumbnails, upside_down: bool) -> Thumbnails:
    return thumbs[:, ::-1] if upside_down else thumbs
