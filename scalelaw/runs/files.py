"""Files that are whole or absent: written aside, flushed to disk, then renamed."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from scalelaw.errors import UserError

Content = Callable[[Path], object]
"""Writes a file at the path it is given."""


def write_atomically(path: Path, write: Content, *, aside: Path | None = None) -> None:
    """Calls `write` with a temporary path beside `path`, flushes it to disk and renames it to `path`.

    Args:
        aside: a folder of the same disk for the temporary file; when it goes away meanwhile, `path` stays as it was.

    Raises:
        UserError: when the disk is full or the folder cannot be written; `path` is then as it was, and no folder is
            left that was not there before.
    """
    temporary: Path | None = None
    made = [folder for folder in (path.parent, *path.parent.parents) if not folder.exists()]
    done = False
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=aside or path.parent)
        os.close(handle)
        temporary = Path(name)
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
        done = True
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({reason(error)}); choose another folder with -o, "
                        "or free the disk") from error  # fmt: skip
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        if not done:
            remove_empty(made)


def remove_empty(folders: list[Path]) -> None:
    """Removes folders, the deepest first, as far as they are there and empty."""
    for folder in folders:
        try:
            folder.rmdir()
        except OSError:
            return


def user_cache(name: str = "") -> Path:
    """Where this program keeps what it can make again: `scalelaw` in the user's cache folder, or `name` in that."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "scalelaw" / name


def reason(error: Exception) -> str:
    """Why a file cannot be read or written, in one line."""
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return next(iter(str(error).splitlines()), type(error).__name__)


class Writes(Protocol):
    """Who puts a file in its place: `write_atomically`, or a lease, whose holder alone may."""

    def __call__(self, path: Path, write: Content, /) -> None: ...


def write_text(path: Path, text: str, through: Writes | None = None, errors: str = "strict") -> None:
    """Writes UTF-8 text atomically; with errors="surrogateescape" names of files that are no UTF-8 are as on disk."""
    (through or write_atomically)(path, lambda temporary: temporary.write_text(text, encoding="utf-8", errors=errors))


def write_bytes(path: Path, content: bytes) -> None:
    """Writes bytes atomically."""
    write_atomically(path, lambda temporary: temporary.write_bytes(content))


def write_json(path: Path, value: Any, through: Writes | None = None) -> None:
    """Writes JSON atomically, keys in the order given."""
    write_text(path, json.dumps(value, indent=1) + "\n", through)


_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"))  # `json.dumps` would make one every time


def canonical(value: Any) -> str:
    """JSON text that is the same for equal values: keys sorted, no spaces."""
    return _CANONICAL.encode(value)


def read_json(path: Path) -> Any:
    """Reads JSON.

    Raises:
        UserError: when the file is missing, unreadable or malformed.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({reason(error)})") from error
    except ValueError as error:
        raise UserError(f"{path}: is not JSON ({error}); mend or remove it") from error


def write_parquet(path: Path, table: pa.Table, through: Writes | None = None) -> None:
    """Writes one Parquet file atomically."""
    (through or write_atomically)(path, lambda temporary: pq.write_table(table, temporary, compression="zstd"))


def read_parquet(path: Path) -> pa.Table:
    """Reads one Parquet file with its field metadata.

    Raises:
        UserError: when it is missing or not Parquet.
    """
    try:
        # Opened here to tell a file that cannot be opened from a damaged one, and by Arrow: bytes of Python's may be
        # let go by a thread of Arrow's while the interpreter ends, which aborts the process.
        with pa.OSFile(str(path)) as file:
            try:
                return pq.ParquetFile(file).read()
            except (OSError, ValueError, pa.ArrowException) as error:  # ValueError: names that are no text
                raise UserError(f"{path}: is not a whole Parquet file ({reason(error)}); mend or remove it") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({reason(error)})") from error
