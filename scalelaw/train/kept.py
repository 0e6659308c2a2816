"""Compiled programs on disk, found by what decides them, so that a second process need not trace them.

JAX's own cache is asked with the traced and lowered program; tracing a small network takes three times as long as
loading its machine code. Here the question is what the program follows from: the package's sources, versions, settings,
devices, the recipe, and the shapes of all arguments. An answer names a program, which is found by its own text too:
sources that changed without changing the program cost a trace and no compilation.

What is kept lies beside JAX's cache. Both hold machine code, and JAX reads its form of a compiled program by pickle, so
whoever may write there may run what he likes: a folder or file that is not this user's own, or that others may write
to, counts as absent, and so does a file that is damaged. Nothing that a user hands in is read here.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import inspect
import math
import os
import pickle
import platform
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flax
import jax
import jaxlib
import numpy as np
import optax
from jax.experimental import serialize_executable

from scalelaw.errors import UserError
from scalelaw.runs import files

DAYS = 60  # a program that nobody has asked for in so long makes room
ENVIRONMENT = ("XLA_FLAGS", "NPROC", "LIBTPU_INIT_ARGS")  # what XLA compiles by, besides jax's settings
NO_MATTER = ("jax_compilation_cache", "jax_persistent_cache")  # how the settings begin that no program depends on
SHA_BYTES = 32

Compiled = Any
Function = Callable[..., Any]


@dataclass(frozen=True)
class Shelf:
    """Where programs of one shape of run are kept.

    Attributes:
        folder: where; None keeps nothing.
        sources: digest of the code that they are traced from and of the settings that decide the trace.
        surroundings: digest of what compiles and runs them.
        devices: that run them.
    """

    folder: Path | None
    sources: str
    surroundings: str
    devices: Sequence[jax.Device]

    def program(
        self, name: str, function: Function, arguments: tuple[Any, ...], *, given: Any, into: Any, reuse: bool = False
    ) -> Compiled:
        """The compiled program of `function`; calling it never compiles.

        Args:
            name: tells it from the others of the same shape.
            function: to be traced, unless its program is on the shelf.
            arguments: with the shapes and types of those to come.
            given, into: placing of arguments and results.
            reuse: whether the first argument's memory is.
        """

        def called(*arguments: Any) -> Any:
            return function(*arguments)

        # By its name no program of ours is one in JAX's own cache, see `_compiled`. With no argument left out, a
        # program's text and its arguments decide all of it.
        called.__name__ = name if self.folder is None else f"kept_{name}"
        jitted = jax.jit(
            called, in_shardings=given, out_shardings=into, donate_argnums=(0,) if reuse else (), keep_unused=True
        )
        if self.folder is None:
            return jitted.lower(*arguments).compile(self._options)
        shapes = _shapes(arguments)
        question = self.folder / f"{name}-{_digest(self.sources, self.surroundings, shapes)}.txt"
        answer = (_read(question) or b"").decode(errors="replace")
        found = self._load(self.folder / f"{answer}.program") if answer else None
        if found:
            return found
        lowered = jitted.lower(*arguments)
        answer = f"{name}-{_digest(lowered.as_text(), self.surroundings, shapes)}"
        file = self.folder / f"{answer}.program"
        found = self._load(file)
        if not found:
            found = _compiled(lowered, self._options)
            # Backends that cannot serialise programs say so by these errors; there is nothing to keep then.
            with contextlib.suppress(ValueError, NotImplementedError):
                _write(file, pickle.dumps(serialize_executable.serialize(found)))
        if file.exists():
            _write(question, answer.encode())
        return found

    @property
    def _options(self) -> dict[str, str | bool]:
        """One thread compiles all kernels in one piece: cutting them up for several costs it an eighth more."""
        alone = self.devices[0].platform == "cpu" and os.environ.get("NPROC") == "1"
        return {"xla_cpu_parallel_codegen_split_count": "1"} if alone else {}

    def _load(self, file: Path) -> Compiled | None:
        body = _read(file)
        if body is None:
            return None
        try:
            # No input of a user: `_read` gives what this user's own processes wrote where nobody else may write.
            program, inside, out = pickle.loads(body)
            return serialize_executable.deserialize_and_load(program, inside, out, execution_devices=self.devices)
        except Exception:  # of another version, or of a machine that this one does not equal after all
            return None


def shelf(mesh: jax.sharding.Mesh, source: object, *deciding: object) -> Shelf:
    """The shelf of one shape of run, beside JAX's cache of compiled programs.

    Without such a cache, with several processes, or with code of unknown origin, it keeps nothing.

    Args:
        source: its class's code decides the programs too, wherever it was written.
        deciding: values whose `repr` says all of them.
    """
    settings, code = jax.config.values, _code(type(source))
    folder = settings["jax_compilation_cache_dir"]
    usable = folder and "://" not in folder and settings["jax_enable_compilation_cache"] and jax.process_count() == 1
    devices = tuple(mesh.devices.flat)
    return Shelf(
        Path(folder) / "scalelaw" if usable and code else None,
        _digest(code, *map(repr, deciding)),
        _digest(*_surroundings(devices)),
        devices,
    )


def _surroundings(devices: Sequence[jax.Device]) -> Iterator[str]:
    """What a compiled program depends on besides its text."""
    for library in (jax, jaxlib, flax, optax, np):
        yield f"{library.__name__} {library.__version__}"
    for name, value in sorted(jax.config.values.items()):
        if not name.startswith(NO_MATTER):
            yield f"{name}={value!r}"
    yield from (f"{name}={os.environ.get(name)}" for name in ENVIRONMENT)
    if "NPROC" not in os.environ:
        yield f"{len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()} cores"
    yield from (f"{device.id} {device.platform} {device.device_kind}" for device in devices)
    yield f"{devices[0].client.platform_version} of {len(jax.devices())}"
    if devices[0].platform == "cpu":
        yield _cpu()


@functools.cache
def _cpu() -> str:
    """The machine code that this machine takes."""
    known = [platform.machine(), platform.processor()]
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
        known += [line for line in lines if line.startswith(("model name", "flags", "Features", "CPU part"))]
    return "\n".join(known)


def _code(kind: type) -> str | None:
    """Digest of the package's code and of that of a class from elsewhere; None where it cannot be read."""
    try:
        elsewhere = {inspect.getfile(base) for base in kind.__mro__
                     if base.__module__.partition(".")[0] not in ("scalelaw", "builtins", "abc", "typing")}  # fmt: skip
        return _digest(_package(), *(Path(name).read_text() for name in sorted(elsewhere)))
    except (OSError, TypeError):
        return None


@functools.cache
def _package() -> str:
    root = Path(__file__).parents[1]
    paths = sorted(root.rglob("*.py"))
    if not paths:
        raise OSError("the package's code is not in files")
    return _digest(*(f"{path.relative_to(root)}\n{path.read_text()}" for path in paths))


def _shapes(arguments: tuple[Any, ...]) -> str:
    leaves, structure = jax.tree.flatten(arguments)
    return f"{structure} {[str(jax.typeof(leaf)) for leaf in leaves]}"


def _digest(*words: str | None) -> str:
    parts = hashlib.sha256()
    for word in words:
        text = str(word).encode()
        parts.update(len(text).to_bytes(8) + text)
    return parts.hexdigest()[:40]


def _compiled(lowered: Any, options: dict[str, str | bool]) -> Compiled:
    """Compiles, past JAX's own cache: what that gives cannot be written to disk again (jax 0.10, CPU)."""
    name = "jax_persistent_cache_min_compile_time_secs"
    before = jax.config.values[name]
    jax.config.update(name, math.inf)
    try:
        return lowered.compile(options)
    finally:
        jax.config.update(name, before)


def _read(file: Path) -> bytes | None:
    """What `_write` wrote; None when it is not there or not whole."""
    try:
        with file.open("rb") as opened:
            if not all(map(_is_ours_alone, (os.stat(file.parent), os.fstat(opened.fileno())))):
                return None
            check, body = opened.read(SHA_BYTES), opened.read()
        if hashlib.sha256(body).digest() != check:
            return None
        os.utime(file)  # lately asked for
    except (OSError, ValueError):  # ValueError: no name of a file
        return None
    return body


def _is_ours_alone(facts: os.stat_result) -> bool:
    """Whether a file or folder belongs to this user, and nobody else may write to it."""
    return facts.st_uid == os.getuid() and not facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _write(file: Path, body: bytes) -> None:
    """Keeps it if that can be done, and drops what nobody has asked for in a long time."""
    whole = hashlib.sha256(body).digest() + body
    with contextlib.suppress(UserError, OSError):
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        files.write_atomically(file, lambda temporary: temporary.write_bytes(whole))
        for other in file.parent.iterdir():
            if time.time() - other.stat().st_mtime > 86400 * DAYS:
                other.unlink()
