"""The mirror of a stored results folder: files on this machine's disk, each with the time of change of its object."""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path

from scalelaw.errors import UserError
from scalelaw.runs import files
from scalelaw.runs.store.place import Mark, Place, at_once

VARIABLE = "SCALELAW_CACHE"


def cache_folder() -> Path:
    """Where mirrors are: $SCALELAW_CACHE, else `scalelaw` in the user's cache folder."""
    given = os.environ.get(VARIABLE)
    return Path(given) if given else files.user_cache()


def mirror_of(uri: str) -> Path:
    """The folder that mirrors a URI on this machine; a cache folder that machines share holds one for each of them."""
    whole = uri.rstrip("/")
    name = whole.split("?")[0].rstrip("/").rpartition("/")[2]
    digest = hashlib.sha256(whole.encode()).hexdigest()[:12]
    return cache_folder() / "results" / socket.gethostname() / f"{name}-{digest}"


def made(uri: str) -> Path:
    """The mirror of a URI, made where it is not there.

    Raises:
        UserError: when it cannot be.
    """
    root = mirror_of(uri)
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{root}: cannot be made ({files.reason(error)}); set {VARIABLE} to a folder on this machine's "
                        "disk") from error  # fmt: skip
    return root


def bring(place: Place, root: Path, listing: Mapping[str, Mark], names: Iterable[str]) -> None:
    """Brings those objects of a listing that are not here as they are there, many at a time."""

    def one(name: str) -> None:
        content = place.read(name)
        if content is not None:
            put(root / name, content)
            os.utime(root / name, ns=(max(listing[name][0], 0), max(listing[name][0], 0)))

    at_once(one, [name for name in names if name in listing and not _is_here(root / name, listing[name])])


def put(path: Path, content: bytes) -> None:
    """Writes a file of the mirror."""
    files.write_atomically(path, lambda temporary: temporary.write_bytes(content))


def _is_here(path: Path, mark: Mark) -> bool:
    try:
        facts = path.stat()
    except OSError:
        return False
    return (facts.st_mtime_ns, facts.st_size) == mark
