"""Imported runs on disk, whole or not at all: one Parquet file, or a results folder with the traces.

What was read, when and how travels in the Parquet schema's metadata, and in a folder as `provenance.json` too.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from scalelaw.errors import UserError
from scalelaw.imports.assembly import Imported
from scalelaw.runs import arrow, files

PROVENANCE = "scalelaw_import"
"""Key of the provenance in the schema metadata."""


def check_out(out: Path) -> None:
    """Refuses a place that cannot take the runs, before anything is read.

    Raises:
        UserError: when it is there already, or names another format.
    """
    if out.suffix.lower() in (".csv", ".tsv", ".json", ".jsonl", ".ndjson"):
        raise UserError(f"-o {out}: runs are kept as Parquet; name a .parquet file or a folder (`scalelaw export` "
                        "writes the others)")  # fmt: skip
    if out.exists() and not (out.is_dir() and out.suffix.lower() != ".parquet" and not any(out.iterdir())):
        raise UserError(f"-o {out}: is there already; name another, or remove it")


def write(imported: Imported, out: Path) -> dict[str, Any]:
    """Writes runs to a Parquet file or a new results folder.

    Returns:
        The provenance.

    Raises:
        UserError: when the place cannot be written; for a folder also when it is unknown how a run ended, or a run's
            name cannot be a folder's.
    """
    provenance = provenance_of(imported)
    table = arrow.from_frame(imported.runs.frame, imported.runs.metadata)
    table = table.replace_schema_metadata({**table.schema.metadata, PROVENANCE: json.dumps(provenance)})
    if out.suffix.lower() == ".parquet":
        files.write_parquet(out, table)
    else:
        _write_folder(imported, table, provenance, out)
    return provenance


def provenance_of(imported: Imported) -> dict[str, Any]:
    """What was read, when and how, as plain JSON."""
    return {
        "imported_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "sources": [
            {
                "name": source.name,
                "format": source.kind,
                "rows": len(source.frame),
                "files": [{"path": str(path), "sha256": sha256(path)} for path in source.files],
            }
            for source in imported.sources
        ],
        "mapping": imported.map.to_dict(),
        "choices": dict(imported.choices),
        "columns": [vars(meaning) for meaning in imported.meanings],
        "notes": list(imported.notes),
    }


def sha256(path: Path) -> str:
    """The hash of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_folder(imported: Imported, table: pa.Table, provenance: dict[str, Any], out: Path) -> None:
    frame = imported.runs.frame
    without = int(frame["status"].isna().sum()) if "status" in frame else len(frame)
    if without:
        raise UserError(f"-o {out}: a results folder says how each run ended, and of {without} runs that is unknown; "
                        "add --set status=finished if they all were, or --total-steps, or write a .parquet "
                        "file")  # fmt: skip
    unfit = [run_id for run_id in imported.traces if run_id in ("", ".", "..") or "/" in run_id or "\0" in run_id
             or run_id.startswith(".") or len(run_id.encode()) > 200]  # fmt: skip
    if unfit:
        raise UserError(*(f"-o {out}: run {run_id!r} cannot be the name of a folder for its trace; rename it, or write "
                          "a .parquet file" for run_id in unfit))  # fmt: skip
    made = [folder for folder in (out.parent, *out.parent.parents) if not folder.exists()]
    aside: Path | None = None
    done = False
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
        for run_id, trace in imported.traces.items():
            files.write_parquet(aside / run_id / "trace" / "part-00000.parquet", trace)
        files.write_json(aside / "provenance.json", provenance)
        files.write_parquet(aside / "runs.parquet", table)
        aside.chmod(0o755)
        aside.replace(out)
        done = True
    except OSError as error:
        raise UserError(f"-o {out}: cannot be written ({files.reason(error)}); choose another folder, or free the "
                        "disk") from error  # fmt: skip
    finally:
        if not done:
            if aside is not None:
                shutil.rmtree(aside, ignore_errors=True)
            files.remove_empty(made)
