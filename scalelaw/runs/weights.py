"""The final weights that a run keeps: whether they are there, and where, on disk or in an object store."""

from __future__ import annotations

import zipfile
from pathlib import Path

from scalelaw.runs.store.place import is_uri

FINAL = "final/weights.npz"
"""In a run's folder."""


def are_kept(run_folder: str) -> bool:
    """Whether a run has its final weights.

    Raises:
        StoreError: when the store of a URI cannot be reached.
    """
    if not is_uri(run_folder):
        return (Path(run_folder) / FINAL).exists()
    from scalelaw.runs.store.place import opened

    return bool(opened(run_folder).marks([FINAL]))


def are_whole(run_folder: str) -> bool:
    """Whether weights that are kept on disk are a whole archive, by its end; of a store nothing is read."""
    return is_uri(run_folder) or zipfile.is_zipfile(Path(run_folder) / FINAL)


def brought(run_folder: str) -> Path:
    """A run's folder on this machine's disk; from an object store its final weights are brought, if they are new.

    Raises:
        StoreError: when the store of a URI cannot be reached.
    """
    if not is_uri(run_folder):
        return Path(run_folder)
    from scalelaw.runs.store import mirror
    from scalelaw.runs.store.place import opened

    place, root = opened(run_folder), mirror.made(run_folder)
    mirror.bring(place, root, place.marks([FINAL]), [FINAL])
    return root


def above(run_folder: str) -> tuple[str, str]:
    """The results folder of a run's folder, and the run's id; a URI keeps its query."""
    place, mark, query = run_folder.partition("?") if is_uri(run_folder) else (run_folder, "", "")
    place = place.rstrip("/")
    if not is_uri(run_folder):
        return str(Path(place).parent), Path(place).name
    results, _, run_id = place.rpartition("/")
    return f"{results}{mark}{query}", run_id


def below(results: str, run_id: str) -> str:
    """The folder of a run in a results folder; a URI keeps its query."""
    place, mark, query = results.partition("?") if is_uri(results) else (results, "", "")
    return f"{place.rstrip('/')}/{run_id}{mark}{query}"
