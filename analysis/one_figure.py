"""What the scripts that draw one figure share: runs to read, a folder for PDF, PNG and the numbers as JSON."""

import argparse
from pathlib import Path

from scalelaw import figures
from scalelaw.runs import RunTable

HERE = Path(__file__).resolve().parent


def draw(name: str, about: str | None, recorded: str = "demo") -> None:
    """Draws one of `scalelaw.figures.FIGURES` as the command line says, from a recorded sweep by default."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("runs", nargs="?", type=Path, default=HERE.parent / "runs" / "recorded" / recorded)
    parser.add_argument("-o", "--out", type=Path, default=HERE / "figures")
    args = parser.parse_args()
    for path in figures.write(RunTable.load(args.runs), args.out, [name]).paths:
        print(path)
