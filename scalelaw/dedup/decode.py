"""From an image file's bytes to its thumbnail: simplejpeg where it is installed, Pillow for the rest."""

from __future__ import annotations

import importlib
import io
import warnings
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scalelaw.dedup.thumbnails import SIDE, thumbnails
from scalelaw.errors import UserError

ENOUGH = 2 * SIDE
"""Pixels that a JPEG is decoded to at least, by powers of two: what is finer does not change a thumbnail."""


class Corrupt(ValueError):
    """An image that cannot be read, and why."""


def thumbnail(content: bytes) -> NDArray[np.uint8]:
    """The (32, 32) thumbnail of an encoded image.

    Raises:
        Corrupt: when it cannot be decoded, or only in part.
        UserError: when Pillow is not installed.
    """
    small: NDArray[np.uint8] = thumbnails(luminance(content)[None])[0]
    return small


def luminance(content: bytes) -> NDArray[Any]:
    """(height, width) of luminance, 0 to 255, of an encoded image, at least 64 pixels a side where it has them.

    Raises:
        Corrupt, UserError: as `thumbnail`.
    """
    if not content:
        raise Corrupt("is empty")
    fast = _simplejpeg()
    if fast is not None and content[:2] == b"\xff\xd8":
        try:
            grey: NDArray[Any] = fast.decode_jpeg(content, "GRAY", min_height=ENOUGH, min_width=ENOUGH)
            return grey[..., 0]
        except (ValueError, OverflowError, MemoryError):
            pass  # unusual or damaged: Pillow tells which
    return _with_pillow(content)


def _with_pillow(content: bytes) -> NDArray[Any]:
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of huge images and odd metadata
            with Image.open(io.BytesIO(content)) as image:
                image.draft("L", (ENOUGH, ENOUGH))
                if image.mode in ("I;16", "I;16B", "I;16L", "I", "F"):
                    deep = np.asarray(image, np.float32)
                    return deep / (257 if deep.max(initial=0) > 255 else 1)
                return np.asarray(image.convert("L"))
    except UnidentifiedImageError as error:
        raise Corrupt("is no image that Pillow knows") from error
    except Image.DecompressionBombError as error:
        raise Corrupt("is larger than Pillow decodes") from error
    except (OSError, ValueError, SyntaxError, EOFError, IndexError, TypeError, OverflowError, MemoryError) as error:
        raise Corrupt(next(iter(str(error).splitlines()), type(error).__name__)) from error


def require() -> None:
    """Says what is missing before the work begins.

    Raises:
        UserError: when Pillow is not installed.
    """
    try:
        import PIL.Image  # noqa: F401
    except ImportError as error:
        raise UserError("dedup: encoded images need Pillow; install scalelaw[data]") from error


@cache
def _simplejpeg() -> ModuleType | None:
    try:
        return importlib.import_module("simplejpeg")
    except ImportError:
        return None
