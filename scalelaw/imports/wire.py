"""Protocol Buffers' wire format, decoded without a schema: the few messages read here need no more.

Source: protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterator

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
Value = int | bytes


class Malformed(ValueError):
    """Bytes that are no message."""


def varint(data: bytes, at: int) -> tuple[int, int]:
    """The unsigned number at a place, and the place after it.

    Raises:
        Malformed: when it has more than ten bytes, or the data end within it.
    """
    value, shift = 0, 0
    while True:
        if at >= len(data) or shift > 63:
            raise Malformed("a number that does not end")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, at
        shift += 7


def parts(data: bytes) -> Iterator[tuple[int, int, Value]]:
    """Every (field number, wire type, value) of a message: fixed widths and strings as bytes, varints as numbers.

    Raises:
        Malformed: when the bytes are no message.
    """
    at, end = 0, len(data)
    while at < end:
        key, at = varint(data, at)
        number, kind = key >> 3, key & 7
        if number == 0:
            raise Malformed("a field of number 0")
        if kind == VARINT:
            value, at = varint(data, at)
            yield number, kind, value
            continue
        if kind == BYTES:
            size, at = varint(data, at)
        elif kind in (FIXED32, FIXED64):
            size = 4 if kind == FIXED32 else 8
        else:
            raise Malformed(f"wire type {kind}")
        if at + size > end:
            raise Malformed("a field that ends behind its message")
        yield number, kind, data[at : at + size]
        at += size


class Message:
    """The fields of a message by number; a field that is not there reads as empty, as the format says.

    Raises:
        Malformed: from every reader, when the bytes are no message of that shape.
    """

    def __init__(self, data: bytes) -> None:
        self._fields: dict[int, list[tuple[int, Value]]] = defaultdict(list)
        for number, kind, value in parts(data):
            self._fields[number].append((kind, value))

    def __contains__(self, number: int) -> bool:
        return number in self._fields

    def strings(self, number: int) -> list[bytes]:
        """Every value of a field of bytes, text or messages."""
        return [value for _, value in self._fields.get(number, []) if isinstance(value, bytes)]

    def messages(self, number: int) -> list[Message]:
        """Every value of a field of messages."""
        return [Message(value) for value in self.strings(number)]

    def message(self, number: int) -> Message:
        """The last value of a field of messages; an empty one when there is none."""
        found = self.strings(number)
        return Message(found[-1] if found else b"")

    def text(self, number: int) -> str:
        """The last value of a field of text; empty when there is none."""
        found = self.strings(number)
        try:
            return found[-1].decode() if found else ""
        except UnicodeDecodeError as error:
            raise Malformed("text that is not UTF-8") from error

    def integer(self, number: int) -> int:
        """The last value of a signed field; 0 when there is none."""
        found = [value for _, value in self._fields.get(number, []) if isinstance(value, int)]
        return signed(found[-1]) if found else 0

    def double(self, number: int) -> float:
        """The last value of a field of 64-bit floats; 0 when there is none."""
        return self._float(number, FIXED64, "<d")

    def single(self, number: int) -> float:
        """The last value of a field of 32-bit floats; 0 when there is none."""
        return self._float(number, FIXED32, "<f")

    def _float(self, number: int, kind: int, code: str) -> float:
        found = [value for wire, value in self._fields.get(number, []) if wire == kind and isinstance(value, bytes)]
        return float(struct.unpack(code, found[-1])[0]) if found else 0.0

    def numbers(self, number: int, code: str) -> list[float]:
        """Every value of a repeated field of numbers, packed or not.

        Args:
            number: of the field.
            code: `struct`'s letter of a fixed width, or "v" for varints.
        """
        found: list[float] = []
        for kind, value in self._fields.get(number, []):
            if isinstance(value, int):
                found.append(signed(value))
            elif code == "v" and kind == BYTES:
                at = 0
                while at < len(value):
                    one, at = varint(value, at)
                    found.append(signed(one))
            else:
                size = struct.calcsize("<" + code)
                if len(value) % size:
                    raise Malformed("packed numbers of another width")
                found += [one for (one,) in struct.iter_unpack("<" + code, value)]
        return found


def signed(value: int) -> int:
    """A varint as the 64-bit signed number that it stands for."""
    return value - (1 << 64) if value >> 63 else value
