"""Pixels: both decoders and an independent crop agree, the kinds of files that come, and what evil files can do."""

from __future__ import annotations

import io
import math
import resource
import struct
import zlib

import image_files
import numpy as np
import pytest
from PIL import EpsImagePlugin, Image, features

pytest.importorskip("jax", reason="the trainer needs jax")

from scalelaw.train.data import crops, decode


def photo(height, width, kind="JPEG", mode="RGB", **save):
    """A smooth picture, as photographs are, and its file."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3)).astype(np.uint8))
    picture = coarse.resize((width, height), Image.Resampling.BICUBIC).convert(mode)
    out = io.BytesIO()
    picture.save(out, kind, **save)
    return picture, out.getvalue()


def whole(height, width):
    return 0, 0, width, height


def without_simplejpeg(monkeypatch):
    monkeypatch.setattr(decode, "simplejpeg", None)


@pytest.mark.parametrize(
    ("kind", "tolerance"), [("PNG", 0), ("BMP", 0), ("PPM", 0), ("TIFF", 0), ("JPEG", 6), ("WEBP", 9)]
)
def test_a_rectangle_is_cut_and_resized(kind, tolerance):
    if kind == "WEBP" and not features.check("webp"):
        pytest.skip("this Pillow reads no WebP")
    picture, content = photo(60, 90, kind, **({"quality": 95} if tolerance else {}))
    found = decode.square(content, lambda height, width: (10, 5, 50, 45), 20)
    expected = np.asarray(picture.crop((10, 5, 50, 45)).resize((20, 20), Image.Resampling.BILINEAR))
    assert np.abs(found[1:-1, 1:-1].astype(int) - expected[1:-1, 1:-1]).max() <= tolerance + 1
    assert (found.dtype, found.shape) == (np.uint8, (20, 20, 3))


def test_both_decoders_agree_to_a_few_levels(monkeypatch):
    pytest.importorskip("simplejpeg")
    _, content = photo(375, 500, quality=90)
    ours = decode.square(content, whole, 224).astype(int)
    assert decode.decoders()["JPEG"].startswith("simplejpeg")
    without_simplejpeg(monkeypatch)
    assert np.abs(decode.square(content, whole, 224) - ours).max() <= 3


def test_decoding_at_a_reduced_size_changes_little(monkeypatch):
    """An image eight times too large is decoded at an eighth, and shows the same."""
    simplejpeg = pytest.importorskip("simplejpeg")
    sizes = []

    class Watched:
        decode_jpeg_header = staticmethod(simplejpeg.decode_jpeg_header)

        @staticmethod
        def decode_jpeg(*args, **settings):
            sizes.append(simplejpeg.decode_jpeg(*args, **settings))
            return sizes[-1]

    monkeypatch.setattr(decode, "simplejpeg", Watched)
    _, content = photo(900, 1200, quality=95)
    half = decode.square(content, lambda height, width: (300, 200, 900, 700), 100).astype(int)
    assert 100 * 900 / 500 <= sizes[0].shape[0] <= 900 / 2
    without_simplejpeg(monkeypatch)
    full = decode.square(content, lambda height, width: (300, 200, 900, 700), 100)
    assert np.abs(full - half).mean() < 1


@pytest.mark.parametrize(("height", "width", "side"), [(1001, 1333, 224), (375, 500, 32), (769, 513, 60)])
def test_decoding_at_a_reduced_size_shifts_nothing(monkeypatch, height, width, side):
    """Of sides that the decoder's fraction does not divide: spots near all four corners stay where they are."""
    pytest.importorskip("simplejpeg")
    y, x = np.mgrid[:height, :width]
    spots = [(0.15, 0.15), (0.15, 0.85), (0.85, 0.15), (0.85, 0.85)]
    light = sum(
        np.exp(-0.5 * (((y / height - a) / 0.05) ** 2 + ((x / width - b) / 0.05) ** 2)) for a, b in spots
    )  # from one spot to the next nothing is left
    out = io.BytesIO()
    Image.fromarray((255 * light).astype(np.uint8)).convert("RGB").save(out, "JPEG", quality=95)

    def places() -> np.ndarray:
        """(4, 2) middles of the spots."""
        seen = decode.square(out.getvalue(), whole, side)[..., 0].astype(float)
        half, at = side // 2, np.arange(side) + 0.5
        quarters = [seen * np.outer((at < half) == (a < 0.5), (at < half) == (b < 0.5)) for a, b in spots]
        return np.array([[(one.sum(axis=1) @ at), (one.sum(axis=0) @ at)] / one.sum() for one in quarters])

    reduced = places()
    without_simplejpeg(monkeypatch)
    np.testing.assert_allclose(reduced, places(), atol=0.04)


@pytest.mark.parametrize(
    ("kind", "mode"),
    [("JPEG", "L"), ("JPEG", "CMYK"), ("PNG", "L"), ("PNG", "LA"), ("PNG", "RGBA"), ("PNG", "P"), ("PNG", "1"),
     ("GIF", "P"), ("PNG", "I;16")],
)  # fmt: skip
def test_other_colour_spaces_become_red_green_blue(kind, mode):
    grey = np.tile(np.linspace(0, 255, 32), (32, 1)).astype(np.uint8)
    picture = Image.fromarray(grey)
    picture = Image.fromarray(grey.astype(np.uint16) * 257) if mode == "I;16" else picture.convert(mode)
    out = io.BytesIO()
    picture.save(out, kind)
    found = decode.square(out.getvalue(), whole, 32).astype(int)
    assert found.shape == (32, 32, 3)
    assert np.abs(found - found[..., :1]).max() <= 3
    if mode != "1":
        assert np.abs(found[..., 0] - grey).max() <= 4


# Which rectangle


@pytest.mark.parametrize("grey", [np.float32(0.5), np.int32(200)])
def test_numbers_of_unknown_scale_are_not_taken_for_black(grey):
    """Fractions, and bytes in 32 bits, would be cut off at the scale of 8 and of 16 bits."""
    out = io.BytesIO()
    Image.fromarray(np.full((8, 8), grey)).save(out, "TIFF")
    with pytest.raises(decode.UnreadableError, match="8 or 16 bits"):
        decode.square(out.getvalue(), whole, 8)


def test_random_crops_are_as_large_and_as_wide_as_set():
    """Against the distribution: area even between the bounds, log of width over height even, where both always fit."""
    area, aspect = (0.08, 0.5), (0.8, 1.25)
    boxes = [crops.Crop(crops.words(0, epoch, 1), area, aspect)(1000, 1000) for epoch in range(3000)]
    left, top, right, bottom = np.array(boxes, float).T
    share, ratio = (right - left) * (bottom - top) / 1e6, np.log((right - left) / (bottom - top)) / math.log(1.25)
    assert share.min() > 0.079
    assert share.max() < 0.501
    assert share.mean() == pytest.approx(0.29, abs=5 * 0.42 / 12**0.5 / 3000**0.5)
    assert ratio.mean() == pytest.approx(0, abs=5 * 2 / 12**0.5 / 3000**0.5)
    assert ratio.std() == pytest.approx(2 / 12**0.5, rel=0.05)
    assert abs(np.corrcoef(left / (1000 - (right - left)), top / (1000 - (bottom - top)))[0, 1]) < 5 / 3000**0.5
    place = left / (1000 - (right - left))
    assert place.mean() == pytest.approx(0.5, abs=5 * 0.29 / 3000**0.5)


@pytest.mark.parametrize("size", [(1, 1), (1, 900), (900, 1), (2, 3), (375, 500), (7, 7)])
def test_crops_lie_inside_whatever_the_image(size):
    height, width = size
    for index in range(300):
        left, top, right, bottom = crops.Crop(crops.words(1, 0, index), (0.08, 1.0), (0.75, 4 / 3))(height, width)
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
    for side in (8, 256, 288):
        left, top, right, bottom = crops.centre(height, width, side)
        assert 0 <= left < right <= width
        assert right - left == pytest.approx(bottom - top)
        assert left == pytest.approx(width - right)


def test_half_of_the_images_are_mirrored():
    share = np.mean([crops.Crop(crops.words(2, 0, k), (1, 1), (1, 1)).mirrored for k in range(4000)])
    assert share == pytest.approx(0.5, abs=5 * 0.5 / 4000**0.5)


def test_evaluation_keeps_the_centre_of_an_image_resized_to_32_pixels_more():
    assert crops.centre(288, 500, 256) == (122, 16, 378, 272)
    assert crops.centre(576, 1000, 256) == (244, 32, 756, 544)
    assert crops.centre(352, 352, 320) == (16, 16, 336, 336)
    assert crops.centre(36, 36, 32) == (2, 2, 34, 34)  # small images: an eighth more


# Evil files


def png_claiming(width, height):
    """A PNG of a few bytes whose header promises an image of this size."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(b"\0" * 100))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")


def jpeg_claiming(width, height):
    content = bytearray(photo(16, 16)[1])
    at = content.index(b"\xff\xc0") + 5
    content[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(content)


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n(/tmp/made-by-postscript) (w) file closefile\n%%EOF\n"


@pytest.mark.parametrize(
    "content",
    [b"", b"text, not an image", b"\xff\xd8\xff", photo(64, 64)[1][:-200], photo(64, 64, "PNG")[1][:200], b"\0" * 5000,
     png_claiming(30000, 30000), png_claiming(8192, 8193), jpeg_claiming(60000, 60000), POSTSCRIPT,
     b"\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x00."],
)  # fmt: skip
@pytest.mark.parametrize("simple", [True, False])
def test_what_is_no_image_is_said_to_be_unreadable(monkeypatch, content, simple):
    if not simple:
        without_simplejpeg(monkeypatch)
    with pytest.raises(decode.UnreadableError, match=r"\w"):
        decode.square(content, whole, 8)


def test_no_program_is_started_and_no_claim_believed(monkeypatch):
    """PostScript would be handed to Ghostscript, and a header's promise of pixels to an allocation."""
    called = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *given, **more: called.append("Ghostscript"))
    if decode.simplejpeg is not None:
        monkeypatch.setattr(decode.simplejpeg, "decode_jpeg", lambda *given, **more: called.append("decode"))
    for content in (POSTSCRIPT, jpeg_claiming(60000, 60000)):
        with pytest.raises(decode.UnreadableError):
            decode.square(content, whole, 8)
    assert called == []


@pytest.mark.parametrize("bomb", [png_claiming(30000, 30000), jpeg_claiming(60000, 60000)], ids=["PNG", "JPEG"])
def test_a_decompression_bomb_costs_no_memory(bomb):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(decode.UnreadableError, match="pixels"):
        decode.square(bomb, whole, 8)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KiB; their pixels are gigabytes


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # of the damage, before it is refused
def test_damaged_files_never_raise_anything_else():
    """Each of many files with bytes changed is read, or said to be unreadable."""
    rng = np.random.default_rng(4)
    read = 0
    for kind in ("JPEG", "PNG", "GIF", "TIFF", "BMP"):
        content = np.frombuffer(photo(24, 24, kind)[1], np.uint8)
        for _ in range(60):
            damaged = content.copy()
            damaged[rng.integers(0, len(damaged), rng.integers(1, 9))] = rng.integers(0, 256)
            try:
                read += decode.square(damaged.tobytes(), whole, 8).shape == (8, 8, 3)
            except decode.UnreadableError:
                continue
    assert 0 < read < 300


def test_pictures_of_the_tests_are_what_they_seem():
    assert decode.square(image_files.encoded(3, "PNG"), whole, 20)[:, :5].mean() > 100
