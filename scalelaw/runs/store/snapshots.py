"""Checkpoints in an object store: one archive each, and a manifest that names the whole ones.

`<run_id>/checkpoint/<step>-<token>.tar` holds a committed checkpoint and the trace up to it; `manifest.json` beside it
names the newest ones with their SHA-256 and is written last. So a checkpoint is there when it is whole, and until then
the one before stays valid. Nothing here knows what a checkpoint holds.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import sys
import tarfile
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

from scalelaw.errors import UserError
from scalelaw.runs import files
from scalelaw.runs.folder import CHECKPOINTS
from scalelaw.runs.store.place import Place

MANIFEST = "manifest.json"
KEPT = 2
TRACE = "trace"
_CHUNK_BYTES = 1 << 20
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)


def local_steps(run_folder: Path) -> list[int]:
    """The steps whose checkpoint is committed on disk, in order: until then its folder has another name."""
    try:
        return sorted(int(name) for name in os.listdir(run_folder / CHECKPOINTS) if name.isdigit())
    except FileNotFoundError:
        return []


def pushed(place: Place, run_id: str) -> list[dict[str, Any]]:
    """The whole checkpoints of a run in the store, newest first: step, object, bytes, sha256."""
    content = place.read(f"{run_id}/{CHECKPOINTS}/{MANIFEST}")
    if content is None:
        return []
    try:
        found = json.loads(content)["checkpoints"]
        return [{key: entry[key] for key in ("step", "object", "bytes", "sha256")} for entry in found]
    except (ValueError, KeyError, TypeError):
        print(f"scalelaw: {place.shown}/{run_id}/{CHECKPOINTS}/{MANIFEST}: cannot be read; the run begins again from "
              "what there is here", file=sys.stderr)  # fmt: skip
        return []


def stage(run_folder: Path, step: int) -> Path:
    """A checkpoint and the trace as they are now, by hard links, so that training may remove its own meanwhile.

    Raises:
        OSError: when it is being removed just now.
    """
    staged = run_folder / f".push-{step}"
    shutil.rmtree(staged, ignore_errors=True)
    shutil.copytree(run_folder / CHECKPOINTS / str(step), staged / CHECKPOINTS / str(step), copy_function=_link)
    (staged / TRACE).mkdir()
    for part in trace_parts(run_folder):
        _link(str(part), str(staged / TRACE / part.name))
    return staged


def trace_parts(run_folder: Path) -> list[Path]:
    """The parts of a run's trace on disk, in order."""
    return sorted((run_folder / TRACE).glob("part-*.parquet"))


def push(place: Place, run_id: str, step: int, staged: Path) -> None:
    """Writes a staged checkpoint to the store: the archive, then the manifest; then the oldest are removed.

    Raises:
        StoreError: when the store refuses; what was valid stays valid.
    """
    earlier = [entry for entry in pushed(place, run_id) if entry["step"] < step]
    name = f"{step}-{uuid4().hex[:8]}.tar"
    with place.writing(f"{run_id}/{CHECKPOINTS}/{name}") as stream:
        counted = _Counted(stream)
        with tarfile.open(fileobj=cast(Any, counted), mode="w|") as archive:
            archive.add(staged, arcname=".")
    entry = {"step": step, "object": name, "bytes": counted.bytes, "sha256": counted.digest.hexdigest()}
    kept = [entry, *earlier[: KEPT - 1]]
    manifest = json.dumps({"format": 1, "checkpoints": kept}, indent=1).encode()
    place.write(f"{run_id}/{CHECKPOINTS}/{MANIFEST}", manifest)
    for gone in earlier[KEPT - 1 :]:
        place.remove(f"{run_id}/{CHECKPOINTS}/{gone['object']}")


def bring(place: Place, run_id: str, run_folder: Path) -> int | None:
    """Brings the newest whole checkpoint to disk, unless what is there already is as new. Returns its step, if it did.

    An archive that is not what its manifest says is passed over for the one before, and said.

    Raises:
        StoreError: when the store cannot be read.
        UserError: when the disk cannot be written.
    """
    here = local_steps(run_folder)
    for entry in pushed(place, run_id):
        if here and here[-1] >= entry["step"]:
            return None
        staged = run_folder / ".pull"
        shutil.rmtree(staged, ignore_errors=True)
        try:
            wrong = _unpack(place, run_id, entry, staged)
            if wrong is None:
                _replace(staged, run_folder)
                return int(entry["step"])
        finally:
            shutil.rmtree(staged, ignore_errors=True)
        print(f"scalelaw: {place.shown}/{run_id}: the checkpoint of step {entry['step']} is damaged ({wrong}); "
              "the one before is taken", file=sys.stderr)  # fmt: skip
    return None


def _unpack(place: Place, run_id: str, entry: dict[str, Any], staged: Path) -> str | None:
    """Unpacks an archive while it is read. Returns what is wrong with it."""
    name = f"{run_id}/{CHECKPOINTS}/{entry['object']}"
    if not place.marks([name]):
        return "it is not there"
    with place.reading(name) as stream:
        counted = _Counted(stream)
        try:
            with tarfile.open(fileobj=cast(Any, counted), mode="r|") as archive:
                archive.extractall(staged, filter="data")
            while counted.read(_CHUNK_BYTES):
                pass
        except (tarfile.TarError, EOFError) as error:
            return files.reason(error)
        except OSError as error:
            if error.errno in _DISK:
                raise UserError(f"{staged.parent}: cannot be written ({files.reason(error)}); free the disk, or set "
                                "SCALELAW_CACHE to another folder") from error  # fmt: skip
            raise
    if (counted.bytes, counted.digest.hexdigest()) != (entry["bytes"], entry["sha256"]):
        return "its digest is another"
    return None


def _replace(staged: Path, run_folder: Path) -> None:
    """Puts what was brought in place of an earlier attempt's; the checkpoint last, so that half of this is none."""
    for name in (CHECKPOINTS, TRACE):
        shutil.rmtree(run_folder / name, ignore_errors=True)
    for name in (TRACE, CHECKPOINTS):
        if (staged / name).exists():
            (staged / name).rename(run_folder / name)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:  # a file system without links
        shutil.copy2(source, target)


class _Counted:
    """A stream that counts and digests what passes."""

    def __init__(self, stream: Any) -> None:
        self.stream, self.bytes, self.digest = stream, 0, hashlib.sha256()

    def write(self, content: bytes) -> int:
        self.stream.write(content)
        return self._passed(content)

    def read(self, size: int) -> bytes:
        content = bytes(self.stream.read(size))
        self._passed(content)
        return content

    def _passed(self, content: bytes) -> int:
        self.bytes += len(content)
        self.digest.update(content)
        return len(content)
