"""CRC-32C, and TFRecord's masked form of it.

Polynomial 0x1EDC6F41, reflected (RFC 3720, 12.1); the mask is that of TensorFlow's record files.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_REFLECTED = 0x82F63B78
_MASK_DELTA = 0xA282EAD8


def _table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (_REFLECTED if value & 1 else 0)
        table.append(value)
    return table


_TABLE = _table()
_ARRAY = np.array(_TABLE, dtype=np.uint32)


def crc32c(data: bytes) -> int:
    """CRC-32C of some bytes."""
    table, crc = _TABLE, 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def crc32c_of_rows(rows: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """CRC-32C of every row, shape (rows, bytes) -> (rows,): byte after byte, all rows at once."""
    crc = np.full(len(rows), 0xFFFFFFFF, dtype=np.uint32)
    for column in np.ascontiguousarray(rows.T):
        crc = _ARRAY[(crc ^ column) & 0xFF] ^ (crc >> np.uint32(8))
    return crc ^ np.uint32(0xFFFFFFFF)


def masked(crc: int) -> int:
    """A checksum as TFRecord stores it: turned right by 15 bits, plus a constant."""
    return (((crc >> 15) | (crc << 17)) + _MASK_DELTA) & 0xFFFFFFFF
