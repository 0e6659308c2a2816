"""Reads a pickle of dicts, strings and NumPy arrays, and runs nothing.

A pickle is a program, and Python's own machine for it is no place for a stranger's, whatever its `find_class` refuses:
five bytes of memo number make it allocate gigabytes, a dict key of deeply nested tuples overflows the stack in their
hash, and registered extension codes come from a cache that `find_class` never sees. So `pickletools` splits the file
into instructions, and only those that such values need are followed, here. Nothing is imported and nothing is called:
the few names that arrays are written with are words to this reader, which makes an array from its bytes and its shape.

Work and memory are bounded by the file: an announced length is read as far as the file goes, stack and memo grow by at
most one entry an instruction, and of instructions there are at most `MOST_INSTRUCTIONS`.
"""

from __future__ import annotations

import os
import pickletools
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np

from scalelaw.errors import UserError
from scalelaw.runs.files import reason
from scalelaw.train.pickled_arrays import CALLS, NAMES, Array, Kind, Name, Refused, quoted

MOST_INSTRUCTIONS = 1_000_000  # F7, the deepest published network, takes about 50,000

_PUSHED = {
    *("NONE", "NEWTRUE", "NEWFALSE", "INT", "LONG", "BININT", "BININT1", "BININT2", "LONG1", "LONG4"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
_FIXED = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_SIZES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_PUTS = {"PUT", "BINPUT", "LONG_BINPUT"}
_GETS = {"GET", "BINGET", "LONG_BINGET"}
_IGNORED = {"PROTO", "FRAME", "STOP"}


def load(path: Path) -> Any:
    """Returns what the pickle at `path` holds: dicts (with strings as keys), strings and read-only arrays of numbers.

    Arrays may be written by any NumPy in protocols 0 to 5, by dill too, and dicts be Haiku's FlatMapping, as in the
    published files.

    Raises:
        UserError: when the file cannot be read, is no whole pickle, or holds or asks for anything else, which it names.
    """
    if path.exists() and not path.is_file():
        raise UserError(f"{path}: is not a file; name the file of weights")
    try:
        with path.open("rb") as file:
            if file.read(4) == b"PK\x03\x04":
                raise UserError(f"{path}: is a zip archive, not a pickle; name a file of weights as DeepMind "
                                "published them or as scalelaw saved them")  # fmt: skip
            file.seek(0)
            with warnings.catch_warnings(action="ignore"):  # of odd escapes in instructions that are refused anyway
                return _finished(_Machine(_Bounded(file, os.fstat(file.fileno()).st_size)).run())
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({reason(error)})") from error
    except Refused as error:
        raise UserError(f"{path}: {error}; nothing of it was run, get the file from its publisher") from None
    except MemoryError as error:
        raise UserError(f"{path}: does not fit into memory; free some or take a larger machine") from error
    except (ValueError, LookupError) as error:
        raise UserError(f"{path}: is not a whole pickle ({quoted(reason(error))}); bring it again from its source"
                        ) from error  # fmt: skip


def _finished(value: Any) -> Any:
    """The value with its arrays in place; a walk without recursion, for dicts may be deep or hold themselves."""
    box: dict[str, Any] = {"": value}
    waiting, seen = [box], {id(box)}
    while waiting:
        target = waiting.pop()
        for key, part in target.items():
            if isinstance(part, Array):
                if part.value is None:
                    raise Refused("holds an array without its contents")
                target[key] = part.value
            elif type(part) is dict:
                if id(part) not in seen:
                    seen.add(id(part))
                    waiting.append(part)
            elif type(part) is not str and not isinstance(part, np.ndarray):
                raise Refused(f"holds {_described(part)}, where weights are dicts of arrays")
    return box[""]


@dataclass(eq=False)
class _Bounded:
    """The file as `pickletools` reads it, but a read allocates no more than what is left."""

    file: BufferedReader
    size: int

    def read(self, count: int) -> bytes:
        return self.file.read(max(0, min(count, self.size - self.file.tell())))

    def readline(self) -> bytes:
        return self.file.readline()

    def tell(self) -> int:
        return self.file.tell()


@dataclass(eq=False)
class _Machine:
    """The pickle machine without imports and calls: a stack, marks on it, and numbered values to come back to."""

    file: _Bounded
    stack: list[Any] = field(default_factory=list)
    below: list[list[Any]] = field(default_factory=list)  # the stacks under each open mark
    memo: dict[int, Any] = field(default_factory=dict)
    encoded: int = 0  # bytes made from text so far

    def run(self) -> Any:
        """Follows the instructions to the end and returns the one value left."""
        for count, (opcode, argument, _) in enumerate(pickletools.genops(self.file)):  # type: ignore[arg-type]
            if count >= MOST_INSTRUCTIONS:
                raise Refused(f"has more than {MOST_INSTRUCTIONS:,} pickle instructions, far more than weights need")
            self.step(opcode.name, argument)
        if self.file.tell() < self.file.size:
            raise Refused(f"goes on for {self.file.size - self.file.tell()} bytes after the pickle's end")
        if self.below or len(self.stack) != 1:
            raise ValueError("not one value at the end")
        return self.stack[0]

    def step(self, opcode: str, argument: Any) -> None:
        """Follows one instruction."""
        if opcode in _PUSHED:
            self.stack.append(_FIXED.get(opcode, argument))
        elif opcode in _PUTS:
            self.memo[argument] = self.stack[-1]
        elif opcode in _GETS:
            self.stack.append(self.memo[argument])
        elif opcode in _SIZES:
            self.push_tuple(self.take(_SIZES[opcode]))
        elif opcode == "GLOBAL":
            self.push_name(*argument.split(" ", 1))
        elif opcode == "INST":
            raise Refused(f"asks for {quoted(argument.replace(' ', '.', 1))}, which weights do not need")
        elif opcode in _STEPS:
            _STEPS[opcode](self)
        elif opcode not in _IGNORED:
            raise Refused(f"has the pickle instruction {opcode}, which dicts of arrays do not need")

    def take(self, count: int) -> list[Any]:
        """Takes the topmost values off the stack, in their order."""
        if len(self.stack) < count:
            raise IndexError("the stack is empty")
        taken = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return taken

    def take_to_mark(self) -> list[Any]:
        """Takes all values above the last mark, and the mark."""
        taken, self.stack = self.stack, self.below.pop()
        return taken

    def push_tuple(self, values: list[Any]) -> None:
        # what arrays are written with nests no deeper; deep tuples overflow the stack of whoever walks them
        if any(isinstance(part, tuple) for value in values if isinstance(value, tuple) for part in value):
            raise Refused("holds tuples in tuples in tuples")
        self.stack.append(tuple(values))

    def push_name(self, module: Any, name: Any) -> None:
        if not (isinstance(module, str) and isinstance(name, str)):
            raise ValueError("a name is not text")
        if (module, name) not in NAMES:
            raise Refused(f"asks for {quoted(f'{module}.{name}')}, which weights do not need")
        self.stack.append(Name(NAMES[module, name]))

    def set_items(self, target: Any, items: list[Any]) -> None:
        if type(target) is not dict or len(items) % 2:
            raise ValueError("keys and values without a dict")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if type(key) is not str:
                raise Refused(f"has {_described(key)} for a key where weights have names")
            if key in target:
                raise Refused(f"has the key {quoted(key)} twice")
            target[key] = value

    def mark(self) -> None:
        self.below.append(self.stack)
        self.stack = []

    def memoize(self) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def new_dict(self) -> None:
        self.stack.append({})

    def make_dict(self) -> None:
        items = self.take_to_mark()
        self.stack.append({})
        self.set_items(self.stack[-1], items)

    def set_item(self) -> None:
        items = self.take(2)
        self.set_items(self.stack[-1], items)

    def set_many(self) -> None:
        items = self.take_to_mark()
        self.set_items(self.stack[-1], items)

    def make_tuple(self) -> None:
        self.push_tuple(self.take_to_mark())

    def look_up(self) -> None:
        self.push_name(*self.take(2))

    def call(self) -> None:
        word, arguments = self.take(2)
        if not isinstance(word, Name) or word.word not in CALLS:
            raise Refused(f"calls {_described(word)}")
        if not isinstance(arguments, tuple):
            raise ValueError("a call without its arguments")
        made = CALLS[word.word](arguments)
        if type(made) is bytes:  # one text may be encoded again and again
            self.encoded += len(made)
            if self.encoded > self.file.size:
                raise Refused("holds more bytes than the file is long")
        self.stack.append(made)

    def build(self) -> None:
        (state,) = self.take(1)
        target = self.stack[-1]
        if not isinstance(target, Array | Kind):
            raise Refused(f"sets the state of {_described(target)}")
        target.build(state)


def _described(value: Any) -> str:
    if isinstance(value, Name):
        return f"the name {value.word!r}"
    return "an array" if isinstance(value, Array) else f"a value of type {type(value).__name__!r}"


_STEPS: dict[str, Callable[[_Machine], None]] = {
    "MARK": _Machine.mark,
    "MEMOIZE": _Machine.memoize,
    "EMPTY_DICT": _Machine.new_dict,
    "DICT": _Machine.make_dict,
    "SETITEM": _Machine.set_item,
    "SETITEMS": _Machine.set_many,
    "TUPLE": _Machine.make_tuple,
    "STACK_GLOBAL": _Machine.look_up,
    "REDUCE": _Machine.call,
    "BUILD": _Machine.build,
}
