"""Runs: one finished schedule is one row, in a results folder, a file or a DataFrame."""

from scalelaw.runs.folder import ResultsFolder
from scalelaw.runs.schema import COLUMNS, STATUSES, UNREPEATABLE, Run, Status
from scalelaw.runs.store import open_results
from scalelaw.runs.table import MissingColumn, RunTable

__all__ = ["COLUMNS", "STATUSES", "UNREPEATABLE", "MissingColumn", "ResultsFolder", "Run", "RunTable", "Status",
           "open_results"]  # fmt: skip
