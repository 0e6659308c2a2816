"""Results folders in object stores: any filesystem of pyarrow, named by URI."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from scalelaw.runs.folder import ResultsFolder
from scalelaw.runs.store.place import is_uri, without_secrets

if TYPE_CHECKING:
    from scalelaw.runs.table import RunTable

__all__ = ["is_uri", "open_results", "table_of", "traces_of"]


def open_results(where: str | Path, *, new: bool = False) -> ResultsFolder:
    """The results folder at a path on disk or at a URI.

    Raises:
        UserError: when it is something else, or its store cannot be reached.
    """
    if not is_uri(where):
        return ResultsFolder(Path(where), new=new)
    from scalelaw.runs.store.folder import StoredFolder

    return StoredFolder(str(where), new=new)


def table_of(uri: str, columns: Mapping[str, str] | None = None) -> RunTable:
    """The rows of a results folder, a Parquet or a CSV file in an object store; `columns` as in `RunTable.load`."""
    from scalelaw.runs.store.folder import StoredFolder
    from scalelaw.runs.store.place import fetched
    from scalelaw.runs.table import RunTable, of_arrow

    if Path(uri.split("?")[0]).suffix.lower() in (".parquet", ".csv"):
        with fetched(uri) as path:
            found = RunTable.load(path, columns)
        return replace(found, source=without_secrets(uri, query=True))
    folder = StoredFolder(uri)
    return of_arrow(*folder.read_rows(), without_secrets(uri, query=True), columns)


def traces_of(uri: str, run_ids: Iterable[str]) -> Path:
    """Brings the traces of runs to this machine's disk. Returns the folder that they are in, each in its run's."""
    from scalelaw.runs.store.folder import StoredFolder

    return StoredFolder(uri).bring_traces(run_ids)
