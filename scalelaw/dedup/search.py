"""Every pair of 64-bit hashes within a Hamming radius, exactly, without comparing all of them.

Multi-index hashing (Norouzi, Punjani, Fleet 2012, arXiv 1307.2982): the hash is cut into four chunks, and two hashes
within the radius must be close in at least one chunk, by the pigeonhole principle. So hashes are sorted by each chunk
in turn, and only those whose chunks are close are compared in full. Memory is linear in the number of hashes.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
Indices = NDArray[np.int64]

CHUNKS, CHUNK_BITS = 4, 16
BUCKETS = 1 << CHUNK_BITS
BLOCK = 1 << 18
"""Distances computed at once: they fit a core's cache."""
SHARES = 512
"""Into which the work is cut, so that only a few shares' hits are in memory at a time."""


@dataclass(frozen=True, eq=False)
class Hits:
    """Pairs within the radius.

    Attributes:
        first: (pairs,) indices into the first hashes.
        second: (pairs,) indices into the second hashes.
        distance: (pairs,) differing bits.
    """

    first: Indices
    second: Indices
    distance: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.first)


@dataclass(frozen=True, eq=False)
class Table:
    """Hashes sorted by one of their chunks: bucket b is `hashes[start[b] : start[b + 1]]`."""

    hashes: Hashes
    order: Indices
    start: Indices

    def buckets(self) -> Indices:
        """The values that occur."""
        return np.flatnonzero(np.diff(self.start))


def within(first: Hashes, second: Hashes, radius: int) -> Iterator[Hits]:
    """Yields all pairs of a hash of `first` and one of `second` that differ in at most `radius` bits, each once.

    Args:
        first: (n,) and
        second: (m,) hashes. Equal hashes within one of them cost time for each pair: pass distinct ones.
        radius: bits, 0 to 63.
    """
    if not len(first) or not len(second):
        return
    if len(first) < len(second):
        for hits in within(second, first, radius):
            yield Hits(hits.second, hits.first, hits.distance)
        return
    radii = chunk_radii(radius)
    workers = cores()
    with ThreadPoolExecutor(workers) as pool:  # NumPy works outside of the interpreter's lock
        for chunk, reach in enumerate(radii):
            if reach < 0:
                continue
            many, few = table(first, chunk), table(second, chunk)
            shares = np.array_split(few.buckets(), SHARES)
            for at in range(0, SHARES, workers):
                jobs = [pool.submit(_join, many, few, share, reach, radius) for share in shares[at : at + workers]]
                for job in jobs:
                    for hits in job.result():
                        yield _new(hits, first, second, radii[:chunk])


def cores() -> int:
    """Threads that can work at once."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def chunk_radii(radius: int) -> tuple[int, ...]:
    """How far each chunk is looked up: were every chunk farther than its own, the hashes were farther than `radius`.

    The chunks' radii plus one sum to `radius` + 1; -1 is a chunk that need not be looked up.
    """
    whole, rest = divmod(radius + 1, CHUNKS)
    return tuple(whole + (k < rest) - 1 for k in range(CHUNKS))


def table(hashes: Hashes, chunk: int) -> Table:
    """Sorts hashes by a chunk."""
    values = _chunk(hashes, chunk)
    order = np.argsort(values, kind="stable")
    start = np.zeros(BUCKETS + 1, np.int64)
    np.cumsum(np.bincount(values, minlength=BUCKETS), out=start[1:])
    return Table(hashes[order], order, start)


def _chunk(hashes: Hashes, chunk: int) -> NDArray[np.uint16]:
    return (hashes >> np.uint64(CHUNK_BITS * chunk)).astype(np.uint16)


@cache
def _masks(reach: int) -> Indices:
    """All chunks with at most `reach` bits set."""
    sets = (bits for count in range(reach + 1) for bits in itertools.combinations(range(CHUNK_BITS), count))
    return np.array([sum(1 << bit for bit in bits) for bits in sets], np.int64)


def _join(many: Table, few: Table, buckets: Indices, reach: int, radius: int) -> list[Hits]:
    """Pairs within the radius whose chunks differ in at most `reach` bits, for some buckets of `few`."""
    masks, found = _masks(reach), []
    for bucket in buckets:
        near = bucket ^ masks
        begin = many.start[near]
        length = many.start[near + 1] - begin
        ends = np.cumsum(length)
        if not ends[-1]:
            continue
        rows = np.repeat(begin - ends + length, length)
        rows += np.arange(ends[-1])
        candidates = many.hashes[rows]
        low, high = few.start[bucket], few.start[bucket + 1]
        step = max(1, BLOCK // len(candidates))
        for at in range(low, high, step):
            asked = few.hashes[at : min(at + step, high)]
            for left in range(0, len(candidates), BLOCK):
                distance = np.bitwise_count(asked[:, None] ^ candidates[left : left + BLOCK])
                hit = np.flatnonzero(distance <= radius)
                if len(hit):
                    row, column = np.divmod(hit, distance.shape[1])
                    pairs = Hits(many.order[rows[left + column]], few.order[at + row], distance.ravel()[hit])
                    found.append(pairs)
    return found


def _new(hits: Hits, first: Hashes, second: Hashes, earlier: tuple[int, ...]) -> Hits:
    """Without the pairs that an earlier chunk has found."""
    differ = first[hits.first] ^ second[hits.second]
    new = np.ones(len(hits), bool)
    for chunk, reach in enumerate(earlier):
        new &= np.bitwise_count(_chunk(differ, chunk)).astype(np.int64) > reach
    return Hits(hits.first[new], hits.second[new], hits.distance[new])
