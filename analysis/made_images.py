"""Images with the statistics of photographs, and the copies of them that near-duplicates are."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
Copy = Callable[[Pixels, np.random.Generator], Pixels]
JPEG = 90
"""Quality of originals, and of copies that are not about compression."""


def dead_leaves(rng: np.random.Generator, side: int, leaves: int = 300) -> Pixels:
    """Opaque discs painted over one another, their radii distributed as r^-3, textured and lit from above.

    Occlusion at every scale gives the edges and the 1/f spectrum of photographs (Lee, Mumford, Huang 2001).

    Returns:
        (side, side, 3).
    """
    image = np.tile(rng.uniform(0, 255, 3), (side, side, 1))
    down, across = np.mgrid[:side, :side]
    low, high = side / 100, side / 1.5
    radii = (low**-2 - rng.random(leaves) * (low**-2 - high**-2)) ** -0.5
    radii[: leaves // 50] = rng.uniform(side / 8, side / 1.6, leaves // 50)
    for radius in radii:
        y, x = rng.uniform(-radius, side + radius, 2)
        part = tuple(slice(max(0, int(at - radius)), max(0, int(at + radius) + 1)) for at in (y, x))
        inside = (down[part] - y) ** 2 + (across[part] - x) ** 2 < radius**2
        image[part][inside] = 0.5 * rng.uniform(0, 255, 3) + 0.5 * rng.uniform(0, 255)
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side))
    frequency[0, 0] = 1
    texture = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((side, side))) / frequency, s=(side, side))
    image += (9 * texture / texture.std() + rng.normal(0, 25) * np.linspace(-1, 1, side)[:, None])[:, :, None]
    return np.clip(image, 0, 255).astype(np.uint8)


def photographs(side: int) -> list[Pixels]:
    """Tiles of the two photographs that scikit-learn brings; neighbours on a photograph, but without common pixels."""
    from sklearn.datasets import load_sample_images

    return [
        photo[y : y + side, x : x + side]
        for photo in load_sample_images().images
        for y in range(0, photo.shape[0] - side + 1, side)
        for x in range(0, photo.shape[1] - side + 1, side)
    ]


def resized(share: float, how: Image.Resampling = Image.Resampling.BICUBIC) -> Copy:
    """Smaller or larger by a factor."""

    def copy(image: Pixels, rng: np.random.Generator) -> Pixels:
        height, width = (max(1, round(length * share)) for length in image.shape[:2])
        return np.asarray(Image.fromarray(image).resize((width, height), how))

    return copy


def recompressed(quality: int) -> Copy:
    """Through JPEG."""
    return lambda image, rng: np.asarray(Image.open(io.BytesIO(jpeg(image, quality))).convert("RGB"))


def cropped(share: float) -> Copy:
    """By up to so much of the side at every edge, each its own."""

    def copy(image: Pixels, rng: np.random.Generator) -> Pixels:
        height, width = image.shape[:2]
        top, bottom = rng.integers(0, round(share * height), 2, endpoint=True)
        left, right = rng.integers(0, round(share * width), 2, endpoint=True)
        return image[top : height - bottom, left : width - right]

    return copy


def cropped_all_round(share: float) -> Copy:
    """By so much of the side at every edge."""

    def copy(image: Pixels, rng: np.random.Generator) -> Pixels:
        y, x = (round(share * length) for length in image.shape[:2])
        return image[y : image.shape[0] - y, x : image.shape[1] - x]

    return copy


def mirrored(image: Pixels, rng: np.random.Generator) -> Pixels:
    """Left is right."""
    return image[:, ::-1]


def chained(*copies: Copy) -> Copy:
    """One after the other."""

    def copy(image: Pixels, rng: np.random.Generator) -> Pixels:
        for one in copies:
            image = one(image, rng)
        return image

    return copy


COPIES: dict[str, Copy] = {
    "half the size": resized(0.5),
    "0.75 x": resized(0.75),
    "1.5 x": resized(1.5),
    "twice the size": resized(2.0),
    "half, every other pixel": resized(0.5, Image.Resampling.NEAREST),
    "JPEG quality 95": recompressed(95),
    "JPEG quality 50": recompressed(50),
    "JPEG quality 30": recompressed(30),
    "mirrored": mirrored,
    "cropped, each edge up to 2 %": cropped(0.02),
    "cropped, each edge up to 3 %": cropped(0.03),
    "cropped, each edge up to 4 %": cropped(0.04),
    "cropped, every edge 3 %": cropped_all_round(0.03),
    "cropped, every edge 4 %": cropped_all_round(0.04),
    "cropped, every edge 6 %": cropped_all_round(0.06),
    "mirrored, cropped up to 2 %, 0.7 x, quality 50": chained(mirrored, cropped(0.02), resized(0.7), recompressed(50)),
}


def jpeg(image: Pixels, quality: int = JPEG) -> bytes:
    """Encoded."""
    encoded = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(encoded, "JPEG", quality=quality)
    return encoded.getvalue()


def save(folder: Path, images: Iterator[Any] | list[Any], prefix: str = "") -> None:
    """Writes images as PREFIX00000.jpg and so on; bytes as they are."""
    folder.mkdir(parents=True, exist_ok=True)
    for k, image in enumerate(images):
        (folder / f"{prefix}{k:05}.jpg").write_bytes(image if isinstance(image, bytes) else jpeg(image))
