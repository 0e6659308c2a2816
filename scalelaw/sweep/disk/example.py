"""tf.train.Example messages, read by their wire format: bytes and whole numbers by name, nothing else of TensorFlow.

The message (tensorflow/core/example/{example,feature}.proto) is
    Example { Features features = 1; }   Features { map<string, Feature> feature = 1; }
    Feature { BytesList bytes_list = 1; FloatList float_list = 2; Int64List int64_list = 3; }, each list `value = 1`.
"""

from __future__ import annotations

from collections.abc import Iterator

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5


def features(message: bytes, wanted: tuple[str, ...]) -> dict[str, list[bytes] | list[int]]:
    """The wanted features that the message has: a list of byte strings or of whole numbers each.

    Raises:
        ValueError: when these bytes are no such message.
    """
    found: dict[str, list[bytes] | list[int]] = {}
    view = memoryview(message)
    for number, value in _fields(view):
        for inner, entry in _fields(_message(value)) if number == 1 else ():
            if inner == 1:
                parts = dict(_fields(_message(entry)))
                name = bytes(_message(parts.get(1, memoryview(b"")))).decode()
                if name in wanted and 2 in parts:
                    found[name] = _values(_message(parts[2]))
    return found


def _values(feature: memoryview) -> list[bytes] | list[int]:
    for kind, listed in _fields(feature):
        if kind == 1:
            return [bytes(_message(value)) for number, value in _fields(_message(listed)) if number == 1]
        if kind == 3:
            numbers: list[int] = []
            for number, value in _fields(_message(listed)):
                if number == 1:  # packed into one field, or a field each
                    numbers += [value] if isinstance(value, int) else _varints(value)
            return [value - 2**64 if value >= 2**63 else value for value in numbers]
    return []


def _fields(view: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Field numbers and values of a message: a whole number, or bytes."""
    at = 0
    while at < len(view):
        key, at = _varint(view, at)
        number, kind = key >> 3, key & 7
        if kind == VARINT:
            value, at = _varint(view, at)
            yield number, value
            continue
        if kind == LENGTH:
            size, at = _varint(view, at)
        elif kind in (FIXED64, FIXED32):
            size = 8 if kind == FIXED64 else 4
        else:
            raise ValueError(f"not a tf.train.Example: wire type {kind}")
        if at + size > len(view):
            raise ValueError("not a tf.train.Example: it ends too early")
        yield number, view[at : at + size]
        at += size


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(view):
            raise ValueError("not a tf.train.Example: it ends too early")
        byte = view[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & (2**64 - 1), at
    raise ValueError("not a tf.train.Example: a number without end")


def _varints(view: memoryview) -> list[int]:
    values, at = [], 0
    while at < len(view):
        value, at = _varint(view, at)
        values.append(value)
    return values


def _message(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise ValueError("not a tf.train.Example: a number where a message belongs")
    return value
