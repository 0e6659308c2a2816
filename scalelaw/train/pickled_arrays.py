"""NumPy arrays out of the words, numbers and bytes that a pickle writes them with; NumPy sees checked values only.

A pickled array is a call of `_reconstruct` and a state (version, shape, type, Fortran order?, bytes), in protocol 5 a
call of `_frombuffer`; a lone number is a call of `scalar`. Its type is a call of `dtype` and a state with the byte
order. The published files were written by dill, which spells `_reconstruct` as an attribute of an imported module, and
have Haiku's FlatMapping around each dict: both are read here without dill, without Haiku, and without an import.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_DIMENSIONS = 8
NUMBERS = {"b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16"}
_LARGEST = 2**40  # of one dimension; larger arrays are in no file

NAMES = {
    ("numpy", "ndarray"): "ndarray",
    ("numpy", "dtype"): "dtype",
    ("_codecs", "encode"): "encode",  # how protocols 0 to 2 write bytes
    ("haiku._src.data_structures", "FlatMapping"): "FlatMapping",
    ("dill._dill", "_import_module"): "_import_module",
    ("dill._dill", "_get_attr"): "_get_attr",
    **{
        (f"numpy.{core}.{module}", name): name
        for core in ("core", "_core")  # before NumPy 2, and since
        for module, name in (("multiarray", "_reconstruct"), ("multiarray", "scalar"), ("numeric", "_frombuffer"))
    },
}
"""What a pickle may name: (module, name) -> the word it is here."""

_MODULES = ("numpy.core._multiarray_umath", "numpy.core.multiarray")


class Refused(Exception):
    """What the file holds or asks for is not admitted; the message is to follow "FILE: "."""


def quoted(text: str) -> str:
    """The text's first 80 characters, quoted and on one line, whatever they are."""
    return ascii(text[:80])


@dataclass(frozen=True, eq=False)
class Name:
    """A word of `NAMES`, standing where Python's machine would put what it imported."""

    word: str


@dataclass(eq=False)
class Kind:
    """A type of numbers: first its code, then by its state the byte order."""

    code: str
    order: str | None = None

    def build(self, state: Any) -> None:
        """Takes the byte order from (version, order, then what only compound types have)."""
        if self.order is not None or type(state) is not tuple or len(state) != 8 or state[1] not in ("<", ">", "|"):
            raise Refused("holds an array of a type that is not one of plain numbers")
        if state != (3, state[1], None, None, None, -1, -1, 0):
            raise Refused("holds an array of a compound type")
        self.order = state[1]

    def dtype(self) -> np.dtype[Any]:
        """The finished type."""
        if self.order is None:
            raise Refused("holds an array of a type without its byte order")
        return np.dtype(self.order + self.code)


@dataclass(eq=False)
class Array:
    """An array: the pickle speaks of it first, its contents come with its state."""

    value: NDArray[Any] | None = None

    def build(self, state: Any) -> None:
        """Takes the contents from (version, shape, type, Fortran order?, bytes)."""
        if type(state) is not tuple or len(state) != 5 or state[0] != 1 or state[3] not in (0, 1):
            raise Refused("holds an array whose contents are not laid out as NumPy does")
        _, shape, kind, fortran, data = state
        self.fill(data, kind, shape, "F" if fortran else "C")

    def fill(self, data: Any, kind: Any, shape: Any, order: Any, axes: Any = None) -> Array:
        """Makes the array of `shape` from its bytes, read-only; `axes` are those it was transposed by ("K")."""
        if self.value is not None:
            raise Refused("fills an array twice")
        if not isinstance(kind, Kind) or not _integers(shape) or len(shape) > MOST_DIMENSIONS:
            raise Refused("holds an array without a shape and a type of numbers")
        if not all(0 < size <= _LARGEST for size in shape):
            raise Refused("holds an empty array, or one whose shape cannot be")
        dtype = kind.dtype()
        if type(data) not in (bytes, bytearray) or len(data) != math.prod(shape) * dtype.itemsize:
            raise Refused(f"holds an array of shape {shape} whose bytes are not as many as that takes")
        transposed = order == "K" and _integers(axes) and sorted(axes) == list(range(len(shape)))
        if not transposed and (order not in ("C", "F") or axes is not None):
            raise Refused("holds an array in an unknown order")
        value = np.frombuffer(data, dtype).reshape(shape, order="F" if order == "F" else "C")
        self.value = value.transpose(axes) if transposed else value
        self.value.flags.writeable = False
        return self


def _integers(values: Any) -> bool:
    return type(values) is tuple and all(type(value) is int for value in values)


def _kind(arguments: tuple[Any, ...]) -> Kind:
    if len(arguments) != 3 or arguments[1:] != (False, True) or type(arguments[0]) is not str:
        raise Refused("holds an array of a type that is not one of plain numbers")
    if arguments[0] not in NUMBERS:
        raise Refused(f"holds an array of type {quoted(arguments[0])}, where weights are plain numbers")
    return Kind(arguments[0])


def _reconstruct(arguments: tuple[Any, ...]) -> Array:
    if len(arguments) != 3 or not _is_name(arguments[0], "ndarray") or arguments[1:] != ((0,), b"b"):
        raise Refused("holds an array that is not a plain NumPy array")
    return Array()


def _scalar(arguments: tuple[Any, ...]) -> Array:
    if len(arguments) != 2:
        raise Refused("holds a number without its type and bytes")
    return Array().fill(arguments[1], arguments[0], (), "C")


def _frombuffer(arguments: tuple[Any, ...]) -> Array:
    if len(arguments) not in (4, 5):
        raise Refused("holds an array whose contents are not laid out as NumPy does")
    return Array().fill(*arguments)


def _encode(arguments: tuple[Any, ...]) -> bytes:
    if len(arguments) != 2 or type(arguments[0]) is not str or arguments[1] != "latin1":
        raise Refused("asks for '_codecs.encode' of something else than bytes")
    return arguments[0].encode("latin1")


def _flat_mapping(arguments: tuple[Any, ...]) -> dict[str, Any]:
    if len(arguments) != 1 or type(arguments[0]) is not dict:
        raise Refused("asks for Haiku's FlatMapping of something else than a dict")
    return arguments[0]


def _import_module(arguments: tuple[Any, ...]) -> Name:
    if len(arguments) != 1 or type(arguments[0]) is not str or arguments[0] not in _MODULES:
        asked = quoted(arguments[0]) if arguments and type(arguments[0]) is str else "something"
        raise Refused(f"asks to import {asked}, which weights do not need")
    return Name("module")


def _get_attr(arguments: tuple[Any, ...]) -> Name:
    if len(arguments) != 2 or not _is_name(arguments[0], "module") or arguments[1] not in ("_reconstruct", "scalar"):
        asked = quoted(arguments[1]) if len(arguments) > 1 and type(arguments[1]) is str else "something"
        raise Refused(f"asks for the attribute {asked}, which weights do not need")
    return Name(arguments[1])


def _is_name(value: Any, word: str) -> bool:
    return isinstance(value, Name) and value.word == word


CALLS: dict[str, Callable[[tuple[Any, ...]], Any]] = {
    "dtype": _kind,
    "_reconstruct": _reconstruct,
    "scalar": _scalar,
    "_frombuffer": _frombuffer,
    "encode": _encode,
    "FlatMapping": _flat_mapping,
    "_import_module": _import_module,
    "_get_attr": _get_attr,
}
"""What the words stand for when a pickle calls them: each checks its arguments and makes one of the values here."""
