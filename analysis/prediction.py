"""What the recorded sweep predicted at four times its largest run, beside the runs trained there afterwards."""

import argparse
from pathlib import Path

from scalelaw import figures
from scalelaw.runs import RunTable

HERE = Path(__file__).resolve().parent
RECORDED = HERE.parent / "runs" / "recorded"

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("runs", nargs="?", type=Path, default=RECORDED / "demo")
parser.add_argument("--outcomes", type=Path, help="runs trained afterwards; of the recorded sweep its own")
parser.add_argument("-o", "--out", type=Path, default=HERE / "figures")
args = parser.parse_args()
outcomes = args.outcomes or (RECORDED / "prediction" if args.runs == RECORDED / "demo" else None)
later = None if outcomes is None else RunTable.load(outcomes)
for path in figures.write(RunTable.load(args.runs), args.out, ["prediction"], outcomes=later).paths:
    print(path)
