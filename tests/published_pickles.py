"""Pickles spelt as the published checkpoints are, without dill, Haiku or an old NumPy.

They were written by dill in protocol 3 (so `_reconstruct` is an attribute of an imported module), hold Haiku's
FlatMapping, and come from a NumPy that wrote a type's flags as 0 and 1. `test_weights` counts the bytes of F0.
"""

from __future__ import annotations

import io
import pickle
import struct
from typing import Any

import numpy as np


class FlatMapping:
    word = b"haiku._src.data_structures\nFlatMapping\n"

    def __init__(self, mapping: dict[str, Any]) -> None:
        self.mapping = mapping

    def __reduce__(self) -> Any:
        return FlatMapping, (self.mapping,)


class GetAttr:
    word = b"dill._dill\n_get_attr\n"


class ImportModule:
    word = b"dill._dill\n_import_module\n"


MODULE = object()


class PublishedPickler(pickle._Pickler):
    def reducer_override(self, obj: Any) -> Any:
        if obj is np._core.multiarray._reconstruct:
            return GetAttr, (MODULE, "_reconstruct")
        if obj is MODULE:
            return ImportModule, ("numpy.core._multiarray_umath",)
        if isinstance(obj, np.dtype):
            return np.dtype, (obj.str[1:], 0, 1), (3, obj.str[0], None, None, None, -1, -1, 0)
        return NotImplemented

    def save_global(self, obj: Any, name: Any = None) -> None:
        if hasattr(obj, "word"):
            self.write(b"c" + obj.word)
            self.memoize(obj)
        else:
            super().save_global(obj, name)


def dump(named: dict[str, dict[str, Any]], file: Any) -> None:
    PublishedPickler(file, protocol=3).dump(FlatMapping({module: FlatMapping(row) for module, row in named.items()}))


def dumps(named: dict[str, dict[str, Any]]) -> bytes:
    file = io.BytesIO()
    dump(named, file)
    return file.getvalue()


def text(word: str) -> bytes:
    """The instruction that puts a word on the stack."""
    return b"X" + struct.pack("<I", len(word)) + word.encode()
