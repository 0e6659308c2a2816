"""The search within a Hamming radius is exact, each pair once, and equal hashes do not blow it up."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scalelaw.dedup import candidates, search

words = st.integers(0, 2**64 - 1)


def near(hashes: np.ndarray, rng: np.random.Generator, most: int) -> np.ndarray:
    """The same hashes with 0 to `most` bits flipped."""
    flipped = hashes.copy()
    for _ in range(most):
        flipped ^= np.where(
            rng.random(len(hashes)) < 0.7, np.uint64(1) << rng.integers(0, 64, len(hashes)).astype("u8"), 0
        )
    return flipped


def brute(first, second, radius):
    distance = np.bitwise_count(first[:, None] ^ second)
    return {(i, j, int(distance[i, j])) for i, j in np.argwhere(distance <= radius).tolist()}


def found(first, second, radius):
    every = [
        triple
        for hits in search.within(first, second, radius)
        for triple in zip(hits.first.tolist(), hits.second.tolist(), hits.distance.tolist(), strict=True)
    ]
    assert len(every) == len(set(every))
    return set(every)


@given(seed=st.integers(0, 2**32), n=st.integers(0, 60), m=st.integers(0, 60), radius=st.integers(0, 20))
@settings(max_examples=25)
def test_the_search_agrees_with_comparing_all(seed, n, m, radius):
    rng = np.random.default_rng(seed)
    first = rng.integers(0, 2**64, n, dtype=np.uint64)
    second = near(rng.choice(first, m) if n else rng.integers(0, 2**64, m, dtype=np.uint64), rng, radius + 2)
    assert found(first, second, radius) == brute(first, second, radius)


@given(st.lists(words, max_size=12), st.lists(words, max_size=12), st.integers(0, 20))
@settings(max_examples=15)
def test_any_hashes(first, second, radius):
    first, second = np.array(first, np.uint64), np.array(second, np.uint64)
    assert found(first, second, radius) == brute(first, second, radius)


@pytest.mark.parametrize("radius", range(21))
def test_no_pair_slips_between_the_chunks(radius):
    """The pigeonhole principle: each chunk farther than its own radius makes the whole farther."""
    radii = search.chunk_radii(radius)
    assert sum(reach + 1 for reach in radii) == radius + 1
    assert max(radii) - min(radii) <= 1


def ranked(images, views, within, most):
    """By comparing all: image -> distances of its nearest `most`, and the set of pairs closer than the last of them."""
    distance = np.bitwise_count(images[:, None, None] ^ views[None]).min(1).astype(int)
    answer = {}
    for i, row in enumerate(distance):
        pairs = sorted((d, j) for j, d in enumerate(row.tolist()) if d <= 12 and not (within and i == j))
        answer[i] = pairs[:most]
    return answer


@given(seed=st.integers(0, 2**32), n=st.integers(1, 40), within=st.booleans())
@settings(max_examples=25)
def test_candidates_are_the_nearest_few(seed, n, within):
    most = 3
    rng = np.random.default_rng(seed)
    base = rng.integers(0, 2**64, max(1, n // 6), dtype=np.uint64)
    images = near(rng.choice(base, n), rng, 3)
    asked = images if within else near(rng.choice(base, n), rng, 3)
    views = np.stack([asked, near(asked, rng, 2)])
    got = candidates.nearest(images, views, 12, within=within, most=most)
    for i, want in ranked(images, views, within, most).items():
        mine = got.image == i
        assert got.distance[mine].tolist()[:most] == [d for d, _ in want]
        for j, view, d in zip(got.asked[mine], got.view[mine], got.distance[mine], strict=True):
            assert np.bitwise_count(images[i] ^ views[view, j]) == d
    assert (np.diff(got.image) >= 0).all()


def test_thousands_of_equal_hashes_cost_no_pair_each():
    """2e4 equal images against 2e4 are 4e8 pairs; only the nearest few of an image are kept, and it is said."""
    images, views = np.full(20_000, 7, np.uint64), np.full((34, 20_000), 5, np.uint64)
    got = candidates.nearest(images, views, 12)
    assert len(got) <= candidates.MOST * len(images)
    assert set(got.image.tolist()) == set(range(20_000))
    assert got.cut.all()
