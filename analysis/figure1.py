"""Figure 1: top-1 error after fine-tuning against pre-training compute, recorded here, with published values."""

import argparse
import csv
from pathlib import Path
from typing import Any

from scalelaw.figures import FIGURES, error_vs_compute, style
from scalelaw.runs import RunTable

HERE = Path(__file__).resolve().parent


def published() -> list[dict[str, Any]]:
    """The values that the paper states with a compute; nothing is read off its figure."""
    with (HERE / "published" / "transfer.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["core_hours_v4"]]
    return [
        {
            "name": row["model"] + (", augmented copies" if "repeated augmentation" in row["pretraining"] else ""),
            "repeated": "repeated augmentation" in row["pretraining"],
            "core_hours": float(row["core_hours_v4"]),
            "top1_error": round(1 - float(row["top1_accuracy_percent"]) / 100, 6),
            "estimated": "speed" in row["obtained"],
            "source": f"{row['source']}; {row['obtained']}",
        }
        for row in rows
    ]


def main() -> None:
    """Draws the figure as the command line says, from the recorded sweep by default."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="?", type=Path, default=HERE.parent / "runs" / "recorded" / "transfer")
    parser.add_argument("-o", "--out", type=Path, default=HERE / "figures")
    args = parser.parse_args()
    numbers = error_vs_compute.collect(RunTable.load(args.runs), published())
    for path in style.save(FIGURES["figure1"].make(numbers), args.out, "figure1", numbers):
        print(path)


if __name__ == "__main__":
    main()
