"""Copies a finished sweep into runs/recorded/<name>/ with its provenance: commit, machine, command, versions.

    python analysis/record.py results/demo --command "make demo"
    python analysis/record.py results/figure1-laptop --name transfer --command "scalelaw finetune ..."

Run it on the machine that trained the sweep. Runs of several commits are refused: train them again.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
from importlib.metadata import version
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from scalelaw.errors import UserError
from scalelaw.runs import RunTable, files
from scalelaw.runs.traces import traces

RECORDED = Path(__file__).resolve().parents[1] / "runs" / "recorded"


def processor() -> str:
    """The CPU's name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


def main() -> None:
    """Reads the results folder and writes the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("--command", required=True, help="what trained the sweep")
    parser.add_argument("--name", help="of the record; that of the results folder unless given")
    parser.add_argument("--evaluations", action="store_true", help="keep every run's evaluations too")
    args = parser.parse_args()
    try:
        runs = RunTable.load(args.results)
        commits = sorted(set(runs.commit))
        if len(commits) != 1 or runs.problems:
            raise UserError(f"{args.results}: one commit and no problem is a record; found {commits}, {runs.problems}")
        target = RECORDED / (args.name or args.results.name)
        runs.write(target / "runs.parquet")
        if args.evaluations:
            table = traces(args.results, runs.run_id).to_table(columns=["run_id", "images_seen", "val_loss"])
            table = table.filter(pc.is_valid(table["val_loss"])).replace_schema_metadata(None)
            pq.write_table(table.sort_by([("run_id", "ascending"), ("images_seen", "ascending")]),
                           target / "evaluations.parquet", compression="zstd")  # fmt: skip
        sweep = files.read_json(args.results / "sweep.json")
        sweep.pop("folder", None)  # where it was planned is nobody's business
        files.write_json(target / "sweep.json", sweep)
        for path in [*args.results.glob("hierarchy-*.json"), *args.results.glob("npz-*.json")]:
            shutil.copyfile(path, target / path.name)
        started = runs.frame["started_at"]
        provenance = {
            "command": args.command,
            "commit": commits[0],
            "date": started.min().strftime("%Y-%m-%d"),
            "machine": f"{processor()}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}, shared",
            "hardware": sorted(set(runs.hardware)),
            "runs": len(runs),
            "train_core_seconds": round(float(runs.train_seconds.sum()), 1),
            "versions": {"python": platform.python_version()}
            | {name: version(name) for name in ("scalelaw", "jax", "jaxlib", "flax", "optax", "numpy")},
        }
        files.write_json(target / "provenance.json", provenance)
    except UserError as error:
        sys.exit("\n".join(error.messages))


if __name__ == "__main__":
    main()
