"""Anybody's results as a table of runs: CSV, Parquet, JSON lines, W&B, TensorBoard; and runs for other programs."""

from scalelaw.imports.assembly import Imported, Meaning, import_runs
from scalelaw.imports.column_map import ColumnMap, column_map
from scalelaw.imports.exports import export
from scalelaw.imports.reading import Format, Options
from scalelaw.imports.writing import write

__all__ = ["ColumnMap", "Format", "Imported", "Meaning", "Options", "column_map", "export", "import_runs", "write"]
