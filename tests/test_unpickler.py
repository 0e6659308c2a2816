"""The unpickler of weights: what it admits, what it refuses, and that nothing in a file is ever run."""

from __future__ import annotations

import copyreg
import os
import pickle
import pickletools
import struct
import sys
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import published_pickles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from published_pickles import text

from scalelaw.errors import UserError
from scalelaw.train import unpickler

RNG = np.random.default_rng(0)
ARRAYS = {
    "float32": RNG.standard_normal((2, 3)).astype(np.float32),
    "scalar": np.float32(3),
    "no dimensions": np.zeros((), np.float64),
    "fortran": np.asfortranarray(RNG.standard_normal((2, 3, 4))),
    "transposed": RNG.standard_normal((2, 3, 4)).transpose(0, 2, 1),
    "strided": RNG.standard_normal((4, 6))[::2, ::3],
    "big-endian": np.arange(3, dtype=">i4"),
    "bool": np.array([True, False]),
    "all bytes": np.arange(256, dtype=np.uint8),
}


def equal(got: Any, expected: Any) -> bool:
    expected = np.asarray(expected)
    return got.dtype == expected.dtype and got.shape == expected.shape and np.array_equal(got, expected)


@pytest.mark.parametrize("pickler", [pickle.Pickler, pickle._Pickler])
@pytest.mark.parametrize("protocol", range(6))
def test_arrays_come_back_from_every_protocol(tmp_path: Path, protocol: int, pickler: Any) -> None:
    path = tmp_path / "file"
    with path.open("wb") as file:
        pickler(file, protocol).dump({"é": ARRAYS, "again": ARRAYS, "text": "ü\n'", "none": {}})
    got = unpickler.load(path)
    assert {key: equal(got["é"][key], array) for key, array in ARRAYS.items()} == dict.fromkeys(ARRAYS, True)
    assert got["again"] is got["é"], "what a pickle shares is shared"
    assert got["text"] == "ü\n'"
    assert got["none"] == {}
    assert not any(array.flags.writeable for array in got["é"].values())


def test_reads_the_spelling_of_the_published_files(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(published_pickles.dumps({"a": ARRAYS, "b": {"w": ARRAYS["float32"]}}))
    assert b"haiku" in path.read_bytes()
    assert b"dill" in path.read_bytes()
    got = unpickler.load(path)
    assert {key: equal(got["a"][key], array) for key, array in ARRAYS.items()} == dict.fromkeys(ARRAYS, True)
    assert list(got) == ["a", "b"]
    assert not {"haiku", "dill"} & set(sys.modules)


def array(
    shape: bytes = b"K\x02\x85", code: bytes = b"f4", data: bytes = b"01234567", subtype: bytes = b"numpy\nndarray"
):
    """A pickled array, for spoiling."""
    return (
        b"cnumpy.core.multiarray\n_reconstruct\n(c" + subtype + b"\nK\x00\x85C\x01btR(K\x01" + shape
        + b"cnumpy\ndtype\n(X" + struct.pack("<I", len(code)) + code + b"K\x00K\x01tR(K\x03X\x01\x00\x00\x00<NNNJ"
        + b"\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tbK\x00C" + bytes([len(data)]) + data + b"tb"
    )  # fmt: skip


SHELL = b"(" + text("touch SENTINEL") + b"tR"  # calls what is on the stack
CALLS = {  # spelling -> what the error must name
    b"cos\nsystem\n" + SHELL: "os.system",
    b"cposix\nsystem\n" + SHELL: "posix.system",
    b"cbuiltins\neval\n(" + text("__import__('os').system('touch SENTINEL')") + b"tR": "builtins.eval",
    b"cbuiltins\ngetattr\n(cos\npath\n" + text("system") + b"tR": "builtins.getattr",
    b"cnumpy\nload\n(" + text("SENTINEL") + b"tR": "numpy.load",
    b"cnumpy.testing._private.utils\nrunstring\n(" + text("open('SENTINEL', 'w')") + b"}tR":
    "numpy.testing._private.utils.runstring",
    b"cnumpy.f2py.crackfortran\nmyeval\n(X\x01\x00\x00\x001tR": "numpy.f2py.crackfortran.myeval",
    b"cnumpy._core.multiarray\nfromfile\n)R": "numpy._core.multiarray.fromfile",
    b"cnumpy\ndtype.__class__\n)R": "numpy.dtype.__class__",
    b"cnumpy\ncore.multiarray._reconstruct\n)R": "numpy.core.multiarray._reconstruct",  # a dotted way to the same
    text("os") + text("path.os.system") + b"\x93" + SHELL: "os.path.os.system",
    text("numpy") + text("ndarray.__new__") + b"\x93)R": "numpy.ndarray.__new__",
    text("") + text("") + b"\x93)R": "'.'",
    b"(Vtouch SENTINEL\nios\nsystem\n": "os.system",
    b"(cos\nsystem\nVtouch SENTINEL\no": "os.system",
    b"cnumpy\nndarray\n)\x81": "NEWOBJ",
    b"cnumpy\nndarray\n)}\x92": "NEWOBJ_EX",
    b"Pidentifier\n": "PERSID",
    b"X\x01\x00\x00\x00xQ": "BINPERSID",
    b"\x82\xf0": "EXT1",
    b"\x97": "NEXT_BUFFER",
    b"]": "EMPTY_LIST",
    b"\x8f": "EMPTY_SET",
    b"S'python 2'\n": "STRING",
    b"cnumpy\nndarray\n)R": "calls the name 'ndarray'",
    b"})R": "type 'dict'",
    b"cnumpy\nndarray\n}b": "sets the state of the name 'ndarray'",
    b"cnumpy.core.multiarray\n_reconstruct\n}X\x08\x00\x00\x00__code__Nsb": "sets the state of the name '_reconstruct'",
    b"cdill._dill\n_import_module\nX\x02\x00\x00\x00os\x85R": "asks to import 'os'",
    b"cdill._dill\n_import_module\n)R": "asks to import",
    b"cdill._dill\n_create_type\n)R": "dill._dill._create_type",
    b"cdill._dill\n_get_attr\ncnumpy\ndtype\nX\x04\x00\x00\x00type\x86R": "attribute 'type'",
    b"cdill._dill\n_get_attr\ncdill._dill\n_import_module\n" + text("numpy.core.multiarray") + b"\x85R"
    + text("__loader__") + b"\x86R": "attribute '__loader__'",
    b"chaiku._src.data_structures\nFlatMapping\nK\x01\x85R": "FlatMapping of something else",
    b"c_codecs\nencode\n" + text("x") + text("rot13") + b"\x86R": "_codecs.encode",
    b"cnumpy\ndtype\n(X\x02\x00\x00\x00O8K\x00K\x01tR": "type 'O8'",
    array(code=b"O8"): "type 'O8'",
    array(code=b"V4"): "type 'V4'",
    array(code=b"f4,f4"): "type 'f4,f4'",
    array(subtype=b"numpy\nmatrix"): "numpy.matrix",
    array(subtype=b"numpy\ndtype"): "not a plain NumPy array",
    array(data=b"0123"): "bytes",
    array(shape=b"K\x00\x85"): "shape",
    array(shape=b"J\xff\xff\xff\xffJ\xfe\xff\xff\xff\x86"): "shape",
    array(shape=b"\x8a\x08" + b"\xff" * 7 + b"\x7f\x85"): "shape",
    array(shape=b"K\x02"): "type of numbers",
    array() + b"(K\x01)NK\x00C\x00tb": "fills an array twice",
    b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R": "without its contents",
    b"cnumpy\nndarray\n": "the name 'ndarray'",
    b"K\x07": "type 'int'",
    b"}K\x07K\x08s": "type 'int' for a key",
    b"}X\x01\x00\x00\x00aNs": "type 'NoneType'",
    b"}(X\x01\x00\x00\x00a}X\x01\x00\x00\x00a}u": "'a' twice",
}  # fmt: skip


@pytest.mark.parametrize("code", CALLS, ids=[f"{index}-{name}" for index, name in enumerate(CALLS.values())])
def test_nothing_is_run_and_the_error_names_it(tmp_path: Path, monkeypatch: Any, code: bytes) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_bytes(b"\x80\x04" + code + b".")
    before = set(sys.modules)
    copyreg.add_extension("os", "system", 240)
    try:
        with pytest.raises(UserError) as caught:
            unpickler.load(Path("file"))
    finally:
        copyreg.remove_extension("os", "system", 240)
    assert CALLS[code] in str(caught.value)
    assert str(caught.value).startswith("file: ")
    assert "\n" not in str(caught.value)
    assert all(name.startswith("encodings.") for name in set(sys.modules) - before), "nothing is imported but codecs"
    assert os.listdir() == ["file"]


@pytest.mark.parametrize(
    "code", [code for code, named in CALLS.items() if b"SENTINEL" in code and b"numpy\nload" not in code]
)
def test_those_pickles_do_harm_in_pythons_own_unpickler(tmp_path: Path, monkeypatch: Any, code: bytes) -> None:
    """The control: without this the test above would pass on pickles that are merely broken."""
    monkeypatch.chdir(tmp_path)
    pickle.loads(b"\x80\x04" + code + b".")
    assert os.listdir() == ["SENTINEL"]


HUGE = struct.pack("<Q", 2**62)
NESTED = 50_000
BOMBS = {  # each exhausts memory, the stack or time in Python's own unpickler
    "memo number": (b"}r\xff\xff\xff\xff.", None),
    "announced bytes": (b"\x8e" + HUGE + b"x.", "not a whole pickle"),
    "announced bytearray": (b"\x96" + HUGE + b"x.", "not a whole pickle"),
    "announced text": (b"\x8d" + HUGE + b"x.", "not a whole pickle"),
    "announced frame": (b"\x95" + HUGE + b"}.", None),
    "announced number": (b"\x8b\xff\xff\xff\x7f1.", "not a whole pickle"),
    "deep tuple as a key": (b"})" + b"\x85" * NESTED + b"Ns.", "tuples in tuples"),
    "doubling tuple as a key": (b"})" + b"q\x00h\x00\x86" * 60 + b"Ns.", "tuples in tuples"),
    "deep dicts": (b"}" + (b"X\x01\x00\x00\x00a}") * NESTED + b"s" * NESTED + b".", None),
    "a dict in itself": (b"}q\x00X\x01\x00\x00\x00ah\x00s.", None),
    "long decimal": (b"I" + b"9" * 500_000 + b"\n.", "not a whole pickle"),
    "encoded again and again": (
        b"(" + text("x" * 100_000) + b"q\x00" + b"c_codecs\nencode\nq\x01h\x00" + text("latin1") + b"q\x02\x86R"
        + b"h\x01h\x00h\x02\x86R" * 10_000 + b"t.", "more bytes than the file"),
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_fizzle(tmp_path: Path, name: str) -> None:
    code, refusal = BOMBS[name]
    path = tmp_path / "file"
    path.write_bytes(b"\x80\x04" + code)
    tracemalloc.start()
    start = time.perf_counter()
    try:
        if refusal is None:
            assert isinstance(unpickler.load(path), dict)
        else:
            with pytest.raises(UserError, match=refusal):
                unpickler.load(path)
        assert tracemalloc.get_traced_memory()[1] < 20e6 + 200 * len(code)
    finally:
        tracemalloc.stop()
    assert time.perf_counter() - start < 20


def test_instructions_are_counted(tmp_path: Path, monkeypatch: Any) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"N" * 101)
    monkeypatch.setattr(unpickler, "MOST_INSTRUCTIONS", 100)
    with pytest.raises(UserError, match="has more than 100 pickle instructions"):
        unpickler.load(path)


def test_what_is_no_pickle_is_said_to_be_none(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for content in (
        b"",
        b"\x80",
        b"\x80\x04",
        b"hello\n",
        b"\x93NUMPY",
        b"\x00" * 100,
        b".",
        b"\x80\x04}}.",
        b"\x80\x04(}.",
    ):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"is not a whole pickle|has the pickle instruction"):
            unpickler.load(path)
    np.savez(path.with_suffix(".npz"), a=np.ones(3))
    with pytest.raises(UserError, match="is a zip archive"):
        unpickler.load(path.with_suffix(".npz"))
    with pytest.raises(UserError, match="is not a file"):
        unpickler.load(tmp_path)
    with pytest.raises(UserError, match="No such file"):
        unpickler.load(tmp_path / "none")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="is not a file"):
        unpickler.load(tmp_path / "pipe")
    path.write_bytes(pickle.dumps({}) + b"more")
    with pytest.raises(UserError, match="goes on for 4 bytes"):
        unpickler.load(path)


def test_names_out_of_a_file_cannot_spoil_the_message(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"\x80\x04" + text("x\x1b[2J\n" * 1000) + text("y") + b"\x93.")
    with pytest.raises(UserError) as caught:
        unpickler.load(path)
    assert len(str(caught.value)) < 600
    assert str(caught.value).isprintable()


SMALL = {"a": {"w": ARRAYS["float32"], "b": ARRAYS["scalar"]}, "text": "x"}
WHOLE = [pickle.dumps(SMALL, protocol) for protocol in range(6)] + [
    published_pickles.dumps({"a": {"w": ARRAYS["float32"]}, "b": {"w": ARRAYS["float32"]}})
]


@pytest.mark.parametrize("whole", WHOLE, ids=["0", "1", "2", "3", "4", "5", "published"])
def test_every_beginning_of_a_file_is_refused(tmp_path: Path, whole: bytes) -> None:
    path = tmp_path / "file"
    for length in range(0, len(whole), 3):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError):
            unpickler.load(path)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: Any) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "file"


opcodes = st.sampled_from([opcode.code.encode("latin1") for opcode in pickletools.opcodes])
pieces = st.one_of(st.binary(max_size=9), opcodes, st.lists(opcodes, max_size=6).map(b"".join))


@settings(max_examples=600)
@given(
    st.sampled_from(WHOLE), st.lists(st.tuples(st.integers(0, 600), st.integers(0, 4), pieces), min_size=1, max_size=5)
)
def test_spoilt_files_are_read_or_refused(scratch: Path, whole: bytes, edits: list[tuple[int, int, bytes]]) -> None:
    """Some bytes replaced, removed or put in: a value of the admitted types or a UserError, never anything else."""
    for place, removed, put in edits:
        whole = whole[: place % len(whole)] + put + whole[place % len(whole) + removed :]
    scratch.write_bytes(whole)
    try:
        waiting = [unpickler.load(scratch)]
    except UserError:
        return
    seen: set[int] = set()
    while waiting:
        part = waiting.pop()
        assert type(part) in (dict, str, np.ndarray)
        if type(part) is dict and id(part) not in seen:
            seen.add(id(part))
            waiting += part.values()
