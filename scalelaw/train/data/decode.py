"""From an encoded image to pixels: one rectangle of it, resized to a square."""

from __future__ import annotations

import functools
import io
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

try:
    import simplejpeg
except ImportError:  # Pillow decodes JPEG too, a third slower
    simplejpeg = None

MAX_PIXELS = 2**26
"""Of one image: a file of kilobytes can claim to be gigabytes of pixels."""
MAX_BYTES = 2**28
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
"""What Pillow may try; others of its formats start programs (EPS) or read other files."""
JPEG = b"\xff\xd8\xff"

Box = tuple[float, float, float, float]
"""Left, top, right and bottom edge of a rectangle, pixels."""
Pixels = NDArray[np.uint8]


class UnreadableError(ValueError):
    """These bytes are no image that can be read."""


@functools.cache
def decoders() -> dict[str, str]:
    """What decodes, by kind of file, with its version: decoders differ in the last bit of a pixel."""
    from importlib.metadata import version

    pillow = f"Pillow {version('pillow')}"
    return {"JPEG": pillow if simplejpeg is None else f"simplejpeg {version('simplejpeg')}", "others": pillow}


def square(content: bytes, choose: Callable[[int, int], Box], side: int) -> Pixels:
    """The chosen rectangle of an image, resized to a square (bilinear, averaging where it shrinks), red-green-blue.

    The orientation that a camera notes in a file is not heeded, nor are colour profiles; transparency is dropped, and
    of several pictures in a file the first is taken.

    Args:
        content: the file.
        choose: given height and width, returns the rectangle.
        side: of the square, pixels.

    Returns:
        uint8 [side, side, 3].

    Raises:
        UnreadableError: when the image cannot be read, or has more than `MAX_PIXELS`.
    """
    if len(content) > MAX_BYTES:
        raise UnreadableError(f"{len(content)} bytes, more than {MAX_BYTES}")
    picture, box = _by_simplejpeg(content, choose, side) or _by_pillow(content, choose)
    return np.asarray(picture.resize((side, side), Image.Resampling.BILINEAR, box=box))


def _by_simplejpeg(content: bytes, choose: Callable[[int, int], Box], side: int) -> tuple[Any, Box] | None:
    """The picture and where the rectangle lies in it; None for what Pillow must try.

    JPEG can be decoded to a half, a quarter or an eighth for less work, which is done where the square is smaller yet.
    """
    if simplejpeg is None or not content.startswith(JPEG):
        return None
    try:
        height, width, _, _ = simplejpeg.decode_jpeg_header(content)
        _check(height, width)
        left, top, right, bottom = choose(height, width)
        enough = {
            "min_height": math.ceil(height * side / (bottom - top)),
            "min_width": math.ceil(width * side / (right - left)),
        }
        pixels = simplejpeg.decode_jpeg(content, colorspace="RGB", min_factor=2, **enough)
    except UnreadableError:
        raise
    except ValueError:  # four colours, or damaged, which Pillow may bear: it has the last word either way
        return None
    share = _share(pixels.shape[0], pixels.shape[1], height, width)
    return Image.fromarray(pixels), (left * share, top * share, right * share, bottom * share)


def _share(rows: int, columns: int, height: int, width: int) -> float:
    """The decoder's own fraction, an eighth or several: sides are rounded up, so theirs would shift what is seen."""
    if (rows, columns) == (height, width):
        return 1.0
    eighths = (k for k in range(1, 8) if (-(-height * k // 8), -(-width * k // 8)) == (rows, columns))
    return next(eighths, 8 * rows / height) / 8


def _by_pillow(content: bytes, choose: Callable[[int, int], Box]) -> tuple[Any, Box]:
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as picture:
            width, height = picture.size
            _check(height, width)
            if picture.mode == "F" or (picture.mode == "I" and picture.format == "TIFF"):
                raise UnreadableError("pixels are numbers of unknown scale; save them with 8 or 16 bits")
            picture.load()
            if picture.mode.startswith("I"):  # 16 bits of grey, which Pillow would cut off at 255
                grey = (np.asarray(picture).clip(0, 65535) >> 8).astype(np.uint8)
                return Image.fromarray(grey).convert("RGB"), choose(height, width)
            return picture.convert("RGB"), choose(height, width)
    except UnreadableError:
        raise
    except Exception as error:  # a decoder given hostile bytes may raise anything
        said = str(error).splitlines()
        raise UnreadableError(said[0] if said else type(error).__name__) from error


def _check(height: int, width: int) -> None:
    if not 0 < height * width <= MAX_PIXELS:
        raise UnreadableError(f"{width} x {height} pixels, more than {MAX_PIXELS}")
