"""`scalelaw status`: how far a sweep is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tyro.conf import Positional

from scalelaw.cli.tables import Json, print_json
from scalelaw.text import columns

if TYPE_CHECKING:
    from scalelaw.runs import ResultsFolder


def status(results: Positional[Path], runs: bool = False, json: Json = False) -> int:
    """Counts a sweep's runs: finished, running, pending, failed, diverged; core-hours spent and left.

    Args:
        results: Results folder.
        runs: List every run with its status.
    """
    from scalelaw.runs import STATUSES, ResultsFolder

    folder = ResultsFolder(results)
    statuses = folder.statuses(_all_ids(folder))
    counts = {word: sum(found == word for found in statuses.values()) for word in STATUSES}
    spent, left = _core_hours(folder, statuses)
    if json:
        answer: dict[str, Any] = {
            **{str(word): n for word, n in counts.items()},
            "core_hours_spent": spent,
            "core_hours_left": left,
        }
        if runs:
            answer["runs"] = statuses
        print_json(answer)
        return 0
    if runs:
        print(*columns(list(statuses.items()), left=(0, 1)), sep="\n")
    print(f"{results}: {sum(counts.values())} runs")
    for word, n in counts.items():
        print(f"  {word:<9} {n:>5}")
    to_go = "unknown" if left is None else f"{left:.3g}"
    print(f"TPU-v4 core-hours: {spent:.3g} spent, {to_go} left")
    if counts["failed"]:
        print("failed runs are tried again by the same sweep command; why they failed:")
        for run_id, why in _failures(folder):
            print(f"  {run_id}: {why}")
    return 0


def _all_ids(folder: ResultsFolder) -> list[str]:
    from scalelaw.runs import files

    record = folder.root / "sweep.json"
    named = files.read_json(record)["runs"] if record.exists() else []
    table, _ = folder.read_rows()
    return list(dict.fromkeys([*named, *folder.run_ids(), *table["run_id"].to_pylist()]))


def _failures(folder: ResultsFolder) -> list[tuple[str, str]]:
    """Failed runs, each with the last line of its error."""
    table, _ = folder.read_rows()
    rows = table.select(["run_id", "status", "error"]).to_pylist()
    return [(row["run_id"], (row["error"] or "unknown").splitlines()[-1]) for row in rows if row["status"] == "failed"]


def _core_hours(folder: ResultsFolder, statuses: dict[str, Any]) -> tuple[float, float | None]:
    """Core-hours of the rows there are, and of the runs still to do; None where the sweep did not note a run's cost."""
    from scalelaw.runs import files

    table, _ = folder.read_rows()
    spent = sum(hours or 0.0 for hours in table["core_hours"].to_pylist())
    record = folder.root / "sweep.json"
    costs = files.read_json(record).get("core_hours", {}) if record.exists() else {}
    to_do = [run_id for run_id, found in statuses.items() if found not in ("finished", "diverged")]
    return spent, sum(costs[run_id] for run_id in to_do) if set(to_do) <= set(costs) else None
