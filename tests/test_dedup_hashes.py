"""Thumbnails, hashes and the alignment: what changes them and what does not."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "analysis"))
import made_images as made
from PIL import Image

from scalelaw.dedup import decode, hashes, pairs, verify
from scalelaw.dedup.thumbnails import SIDE, shrink, thumbnails

RNG = np.random.default_rng(0)
IMAGES = np.stack([made.dead_leaves(RNG, 64, 100) for _ in range(30)])
THUMBS = thumbnails(IMAGES)


@given(length=st.integers(1, 300))
@settings(max_examples=30)
def test_shrinking_keeps_means_and_mirrors(length):
    weights = shrink(length)
    assert weights.sum(1) == pytest.approx(np.ones(SIDE), abs=1e-4)
    assert weights[::-1, ::-1] == pytest.approx(weights, abs=1e-5)
    if length >= SIDE:  # every pixel counts alike
        assert weights.sum(0) == pytest.approx(np.full(length, SIDE / length), rel=1e-3)


def test_a_mirrored_image_has_the_mirrored_thumbnail():
    difference = thumbnails(IMAGES[:, :, ::-1]).astype(int) - THUMBS[:, :, ::-1]
    assert np.abs(difference).max() <= 1


def test_mirrored_views_are_hashes_of_mirrored_images():
    views = hashes.views(THUMBS)
    plain = len(hashes.edges())
    assert (views[0] == hashes.hashes(THUMBS)[0]).all()
    assert np.bitwise_count(views[plain] ^ hashes.hashes(THUMBS[:, :, ::-1])[0]).max() <= 1  # rounding at the margin


def test_alignment_begins_where_the_view_was(monkeypatch):
    """The edges handed on give the view's hash again, also of a mirrored view, where left is right."""
    seen = []
    monkeypatch.setattr(
        verify, "correlations", lambda first, second, edges: seen.extend([second, edges]) or np.zeros(34)
    )
    pairs._laid_over(THUMBS[:34].repeat(2, 0)[:34], np.tile(THUMBS[:1], (34, 1, 1)), np.arange(34))
    for second, (top, bottom, left, right), want in zip(*seen, hashes.views(THUMBS[:1])[:, 0], strict=True):
        rows, columns = hashes.stretch(top, bottom), hashes.stretch(left, right)
        assert np.bitwise_count(hashes.packed(hashes.coefficients(second[None], rows, columns))[0] ^ want) <= 1


def test_hash_bits_are_the_lowest_frequencies():
    """Against the cosine transform of SciPy."""
    from scipy.fft import dctn

    spectrum = dctn(THUMBS.astype(float), axes=(1, 2), norm="ortho")
    assert hashes.coefficients(THUMBS) == pytest.approx(spectrum[:, hashes.VERTICAL, hashes.HORIZONTAL], abs=0.05)
    assert (0, 0) not in set(zip(hashes.VERTICAL, hashes.HORIZONTAL, strict=True))


def test_light_and_contrast_do_not_matter():
    dimmer = (THUMBS * 0.8 + 10).astype(np.uint8)
    distance = np.bitwise_count(hashes.hashes(dimmer)[0] ^ hashes.hashes(THUMBS)[0])
    assert distance.max() <= 4
    none = np.zeros((len(THUMBS), 4))
    assert verify.correlations(THUMBS, dimmer, none).min() > 0.99


def test_flat_images_are_plain_and_photographs_are_not():
    flat = np.stack([np.full((SIDE, SIDE), level, np.uint8) for level in (0, 128, 255)])
    noisy = np.clip(128 + RNG.normal(0, 1, (5, SIDE, SIDE)), 0, 255).astype(np.uint8)
    assert hashes.hashes(np.concatenate([flat, noisy]))[1].all()
    assert not hashes.hashes(THUMBS)[1].any()


@given(
    top=st.floats(-0.04, 0.04), bottom=st.floats(-0.04, 0.04), left=st.floats(-0.04, 0.04), right=st.floats(-0.04, 0.04)
)
@settings(max_examples=20)
def test_alignment_undoes_a_crop_or_a_margin(top, bottom, left, right):
    image = RNG_IMAGE
    h, w = image.shape[:2]
    down = [round(h * (0.1 + top)), round(h * (0.9 - bottom))]
    across = [round(w * (0.1 + left)), round(w * (0.9 - right))]
    part = thumbnails(image[None, down[0] : down[1], across[0] : across[1]])
    whole = thumbnails(image[None, round(h * 0.1) : round(h * 0.9), round(w * 0.1) : round(w * 0.9)])
    assert verify.correlations(whole, part, np.zeros((1, 4)))[0] > 0.9


RNG_IMAGE = made.dead_leaves(np.random.default_rng(5), 200)


def test_different_images_do_not_correlate():
    first, second = THUMBS[:15], THUMBS[15:]
    assert np.abs(verify.correlations(first, second, np.zeros((15, 4)))).max() < 0.5


def test_an_image_and_itself_correlate_by_one_and_no_more():
    found = verify.correlations(THUMBS, THUMBS, np.zeros((len(THUMBS), 4)))
    assert (found > 1 - 1e-6).all()
    assert (found <= 1).all()


def test_correlation_of_flat_thumbnails_is_none():
    flat = np.full((2, SIDE, SIDE), 9, np.uint8)
    assert verify.correlations(flat, THUMBS[:2], np.zeros((2, 4))).tolist() == [0, 0]


def encoded(image: np.ndarray, kind: str, **options) -> bytes:
    content = io.BytesIO()
    Image.fromarray(image).save(content, kind, **options)
    return content.getvalue()


def test_a_jpeg_decoded_small_is_the_jpeg_decoded_whole():
    image = made.dead_leaves(np.random.default_rng(3), 500)
    content = encoded(image, "JPEG", quality=95)
    small = decode.thumbnail(content).astype(int)
    whole = thumbnails(np.asarray(Image.open(io.BytesIO(content)))[None])[0].astype(int)
    assert decode.luminance(content).shape[0] < 200
    assert np.abs(small - whole).max() <= 12
    assert (
        np.bitwise_count(hashes.hashes(small[None].astype("u1"))[0] ^ hashes.hashes(whole[None].astype("u1"))[0])[0]
        <= 1
    )


@pytest.mark.parametrize("fast", [True, False])
def test_every_kind_of_image_is_read(fast, monkeypatch):
    if not fast:
        monkeypatch.setattr(decode, "_simplejpeg", lambda: None)
    image = made.dead_leaves(np.random.default_rng(3), 80)
    want = thumbnails(image[None])[0].astype(int)
    grey = np.asarray(Image.fromarray(image).convert("L"))
    Image.fromarray(image).convert("CMYK").save(cmyk := io.BytesIO(), "JPEG", quality=95)
    for content in (
        encoded(image, "PNG"), encoded(image, "JPEG", quality=95), encoded(image, "WEBP", lossless=True),
        encoded(image, "BMP"), encoded(grey, "PNG"), encoded(grey, "JPEG", quality=95),
        encoded(grey.astype(np.uint16) * 257, "PNG"), cmyk.getvalue(),
    ):  # fmt: skip
        assert np.abs(decode.thumbnail(content).astype(int) - want).mean() <= 3


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xd8", b"no image", encoded(IMAGES[0], "JPEG")[:400], encoded(IMAGES[0], "PNG")[:400]]
)
def test_damaged_images_say_so_in_a_line(content):
    with pytest.raises(decode.Corrupt) as error:
        decode.thumbnail(content)
    assert str(error.value)
    assert "\n" not in str(error.value)
