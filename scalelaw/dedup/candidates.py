"""Pairs of images whose hashes are close: the nearest few for every image, in memory linear in the images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scalelaw.dedup import search
from scalelaw.dedup.search import Hashes, Indices

MOST = 32
"""Candidates of an image that are looked at: the nearest ones."""
PAIRS_IN_MEMORY = 1 << 22


@dataclass(frozen=True, eq=False)
class Candidates:
    """Pairs to be looked at, sorted by image, then by distance.

    Attributes:
        image: (pairs,) indices of hashes searched among.
        asked: (pairs,) indices of the images asked about.
        view: (pairs,) which view of them was nearest.
        distance: (pairs,) differing bits.
        cut: (images,) which images had more candidates than were kept.
    """

    image: Indices
    asked: Indices
    view: Indices
    distance: NDArray[np.uint8]
    cut: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.image)


@dataclass(frozen=True, eq=False)
class Groups:
    """Hashes, each once, and who has them: members of group g are `members[start[g] : start[g + 1]]`, ascending."""

    hashes: Hashes
    members: Indices
    start: Indices

    def counts(self, groups: Indices) -> Indices:
        """How many have each."""
        return self.start[groups + 1] - self.start[groups]


def grouped(hashes: Hashes) -> Groups:
    """Equal hashes together, so that a thousand equal images cost as much as one."""
    order = np.argsort(hashes, kind="stable")
    ordered = hashes[order]
    first = np.flatnonzero(_changes(ordered))
    return Groups(ordered[first], order, np.concatenate([first, [len(ordered)]]))


def nearest(images: Hashes, views: Hashes, radius: int, *, within: bool = False, most: int = MOST) -> Candidates:
    """For every image the nearest images asked about, by any of their views.

    Args:
        images: (n,) hashes.
        views: (views, m) hashes of images asked about.
        radius: bits.
        within: both are the same images; an image is no candidate of its own.
        most: candidates kept for an image, and for all images of equal hash as one.

    Returns:
        Candidates of each pair of images at their smallest distance, the first view of those.
    """
    have, want = grouped(images), grouped(views.ravel())
    cut = np.zeros(len(have.hashes), bool)
    keep = most + within  # an image's nearest is itself
    best = np.zeros((4, 0), np.int64)
    waiting: list[NDArray[np.int64]] = []
    held = 0
    for hits in search.within(have.hashes, want.hashes, radius):
        waiting.append(np.stack([hits.first, hits.second, hits.distance.astype(np.int64)]))
        held += int(np.minimum(want.counts(hits.second), keep).sum())
        if held > PAIRS_IN_MEMORY:
            best, waiting, held = _kept(best, waiting, want, views.shape[1], keep, cut), [], 0
    best = _kept(best, waiting, want, views.shape[1], keep, cut)
    return _of_images(best, have, cut, within)


def _kept(best: NDArray[np.int64], waiting: list[NDArray[np.int64]], want: Groups, asked: int, keep: int,
          cut: NDArray[np.bool_]) -> NDArray[np.int64]:  # fmt: skip
    """(4, k) group, image asked, view, distance: the nearest of `best` and of new hits, at most `keep` a group."""
    group, hash_, distance = np.concatenate([np.zeros((3, 0), np.int64), *waiting], axis=1)
    count = np.minimum(want.counts(hash_), keep)
    cut[group[want.counts(hash_) > keep]] = True
    row = np.repeat(want.start[hash_], count) + _ranks(count)
    view, image = np.divmod(want.members[row], max(asked, 1))
    new = np.stack([np.repeat(group, count), image, view, np.repeat(distance, count)])
    every = np.concatenate([best, new], axis=1)
    every = every[:, np.lexsort((every[2], every[3], every[1], every[0]))]  # a pair's smallest distance first
    every = every[:, _changes(every[0], every[1])]
    every = every[:, np.lexsort((every[1], every[3], every[0]))]  # a group's nearest first
    rank = _ranks(np.diff(np.append(np.flatnonzero(_changes(every[0])), every.shape[1])))
    cut[every[0, rank >= keep]] = True
    return every[:, rank < keep]


def _of_images(best: NDArray[np.int64], have: Groups, cut: NDArray[np.bool_], within: bool) -> Candidates:
    """Of every image, not of every group."""
    group, asked, view, distance = best
    count = have.counts(group)
    image = have.members[np.repeat(have.start[group], count) + _ranks(count)]
    asked, view, distance = (np.repeat(values, count) for values in (asked, view, distance))
    cut_images = np.zeros(len(have.members), bool)
    cut_images[have.members] = np.repeat(cut, np.diff(have.start))
    if within:
        other = image != asked
        image, asked, view, distance = image[other], asked[other], view[other], distance[other]
    order = np.lexsort((asked, distance, image))
    return Candidates(image[order], asked[order], view[order], distance[order].astype(np.uint8), cut_images)


def _ranks(counts: Indices) -> Indices:
    """0 .. c-1 for each count c, one after another."""
    ends = np.cumsum(counts)
    return np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - counts, counts)


def _changes(*columns: NDArray[Any]) -> NDArray[np.bool_]:
    """Where a row differs from the one before it; the first one does."""
    new = np.ones(len(columns[0]), bool)
    new[1:] = np.any([column[1:] != column[:-1] for column in columns], axis=0)
    return new
