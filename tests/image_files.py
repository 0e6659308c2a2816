"""Small sets of real image files: four classes that a tiny model can tell apart by their colour."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

CLASSES = ("ant", "bee", "cat", "dog")
COLOURS = np.array([[220, 40, 40], [40, 220, 40], [40, 40, 220], [200, 200, 60]])


def picture(number: int, height: int = 20, width: int = 24) -> np.ndarray:
    """Image `number` of class number mod 4: its colour, smooth noise, and a bright left half that mirroring moves."""
    rng = np.random.default_rng(number)
    coarse = rng.integers(-40, 40, (4, 4, 3)).repeat(-(-height // 4), 0).repeat(-(-width // 4), 1)[:height, :width]
    image = COLOURS[number % len(CLASSES)] + coarse
    image[:, : width // 2] += 30
    return image.clip(0, 255).astype(np.uint8)


def encoded(number: int, kind: str = "JPEG", **size: int) -> bytes:
    """The file of a picture."""
    out = io.BytesIO()
    Image.fromarray(picture(number, **size)).save(out, kind, **({"quality": 90} if kind == "JPEG" else {}))
    return out.getvalue()


def folder(place: Path, count: int, first: int = 0, kind: str = "JPEG") -> Path:
    """A folder for each class."""
    for number in range(first, first + count):
        path = place / CLASSES[number % len(CLASSES)] / f"{number:05d}.{kind.lower()}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(number, kind))
    return place


def parquet(
    place: Path, numbers: range, *, words: bool = False, plain: bool = False, group: int = 7, **names: Any
) -> Path:
    """One file in Hugging Face's layout."""
    images = [encoded(number) for number in numbers]
    column = (
        pa.array(images)
        if plain
        else pa.array([{"bytes": image, "path": f"{k}.jpg"} for k, image in enumerate(images)])
    )
    labels = [CLASSES[n % 4] if words else n % 4 for n in numbers]
    place.parent.mkdir(parents=True, exist_ok=True)
    image_key, label_key = names.get("image_key", "image"), names.get("label_key", "label")
    pq.write_table(pa.table({"id": list(numbers), image_key: column, label_key: labels}), place, row_group_size=group)
    return place


def message(*fields: tuple[int, Any]) -> bytes:
    """A protocol buffer's message: bytes or whole numbers by field number."""
    parts = b""
    for number, value in fields:
        if isinstance(value, int):
            parts += varint(number << 3) + varint(value)
        else:
            parts += varint(number << 3 | 2) + varint(len(value)) + value
    return parts


def varint(value: int) -> bytes:
    """A whole number, seven bits a byte."""
    out = b""
    while value >= 128:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def example(image: bytes, label: int, *, packed: bool = True, **more: bytes) -> bytes:
    """A tf.train.Example as TensorFlow Datasets writes one."""
    number = message((1, varint(label % 2**64))) if packed else message((1, label))
    feature = {"image": message((1, message((1, image)))), "label": message((3, number))}
    feature |= {name: message((1, message((1, value)))) for name, value in more.items()}
    return message((1, message(*((1, message((1, name.encode()), (2, value))) for name, value in feature.items()))))


def array_record(place: Path, records: list[bytes]) -> Path:
    """A file of records."""
    from array_record.python import array_record_module

    place.parent.mkdir(parents=True, exist_ok=True)
    writer = array_record_module.ArrayRecordWriter(str(place), "group_size:1")
    for record in records:
        writer.write(record)
    writer.close()
    return place


def cifar10(place: Path, each: int = 12) -> Path:
    """The official binary files, but short."""
    place.mkdir(parents=True, exist_ok=True)
    for k, name in enumerate([*(f"data_batch_{k}.bin" for k in range(1, 6)), "test_batch.bin"]):
        rows = []
        for number in range(k * each, (k + 1) * each):
            rows.append(bytes([number % 4]) + picture(number, 32, 32).transpose(2, 0, 1).tobytes())
        (place / name).write_bytes(b"".join(rows))
    return place
