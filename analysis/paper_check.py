"""What follows from the stated facts of "ConvNets Match Vision Transformers at Scale" alone, beside its statements.

    python analysis/paper_check.py [--json]

Nothing is trained and nothing is read off a figure: published/*.csv hold stated values, each with its source, how it
was obtained, and the range of numbers that would be stated so. The rest is arithmetic on network shapes and peaks.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scalelaw import architecture, compute

PUBLISHED = Path(__file__).resolve().parent / "published"


@dataclass(frozen=True)
class Check:
    """One statement beside what follows from the other facts.

    Attributes:
        about: the subject.
        statement: what the paper says, in words.
        stated: the stated value, None where there is nothing to hold the computed one against.
        low, high: numbers that would be stated so; None likewise.
        computed: what follows.
        unit: of all four.
        how: by which arithmetic.
    """

    about: str
    statement: str
    stated: float | None
    low: float | None
    high: float | None
    computed: float
    unit: str
    how: str

    @property
    def agrees(self) -> bool | None:
        """Whether the computed value would be stated so; None where nothing is stated."""
        if self.low is None or self.high is None:
            return None
        return self.low <= self.computed <= self.high

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "agrees": self.agrees}


@dataclass(frozen=True)
class Statement:
    """A row of statements.csv."""

    value: float
    low: float
    high: float
    unit: str


def read(name: str) -> list[dict[str, str]]:
    """The rows of a published table; every one has a source."""
    with (PUBLISHED / name).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert all(row["source"] and row["obtained"] for row in rows), f"{name}: a value without a source"
    return rows


def statements() -> dict[str, Statement]:
    """statements.csv by name."""
    return {
        row["name"]: Statement(float(row["value"]), float(row["low"]), float(row["high"]), row["unit"])
        for row in read("statements.csv")
    }


SAID = statements()
TRAINED = "F0", "F1", "F3", "F3+", "F7", "F7+"
"""The models of the paper."""


def held(about: str, statement: str, name: str, computed: float, how: str) -> Check:
    """A check against a row of statements.csv."""
    said = SAID[name]
    return Check(about, statement, said.value, said.low, said.high, computed, said.unit, how)


def implied(about: str, statement: str, computed: float, unit: str, how: str) -> Check:
    """What follows where the paper states no number for it."""
    return Check(about, statement, None, None, None, computed, unit, how)


def macs(name: str) -> float:
    """Multiply-adds an image of a variant as the paper trained it: 224 pixels, 30,000 classes."""
    resolution, classes = int(SAID["resolution"].value), int(SAID["classes"].value)
    return float(architecture.size(architecture.variant(name), resolution, classes).macs_per_image)


def share_of_peak(row: dict[str, str]) -> float:
    """The share of the TPU-v3 peak that a row of step_times.csv means: 32 images a core and step, 1000 classes."""
    size = architecture.size(architecture.variant(row["variant"]), int(row["resolution"]), 1000)
    flop = compute.train_flop(size.macs_per_image, 32)
    share = compute.utilisation(flop, float(row["milliseconds"]) / 1000, 1, compute.HARDWARE["tpu-v3"])
    assert share is not None
    return share


def ends() -> list[Check]:
    """Cost of the cheapest and the dearest run, and the utilisation that their stated costs mean."""
    checks = []
    images = SAID["train_images"].value
    reached = {row["variant"]: share_of_peak(row) for row in read("step_times.csv")}
    runs = {
        "F0": ("cheapest_core_hours", "f0_epochs", reached["F0"], "by the published step time of F0 on TPU v3"),
        "F7+": ("dearest_core_hours", "f7plus_epochs", reached["F5"], "by that of F5 on TPU v3, the largest timed"),
    }
    for name, (cost, epochs, at, whence) in runs.items():
        flop = compute.train_flop(macs(name), SAID[epochs].value * images)
        about = f"{name}, {SAID[epochs].value:g} epochs"
        checks.append(implied(about, "multiply-adds an image", macs(name) / 1e9, "1e9", "224 pixels, 30k classes"))
        share = 100 * flop / (SAID[cost].value * compute.FLOP_PER_CORE_HOUR)
        checks.append(implied(about, "utilisation that its cost means", share, "% of TPU-v4 peak", "FLOP / core-hours"))
        for utilisation, why in ((at, whence), (compute.DEFAULT_UTILISATION, "our default, from F7+ itself")):
            hours = compute.core_hours(flop, utilisation)
            how = f"6 x multiply-adds x images at {100 * utilisation:.1f} % of peak, {why}"
            checks.append(held(about, "cost", cost, hours, how))
    flop = compute.train_flop(macs("F7+"), SAID["f7plus_epochs"].value * images)
    v3 = compute.utilisation(flop, SAID["dearest_core_hours_v3"].value * 3600, 1, compute.HARDWARE["tpu-v3"])
    assert v3 is not None
    about = "F7+, 8 epochs, TPU v3"
    checks.append(implied(about, "utilisation that 250k core-hours mean", 100 * v3, "% of TPU-v3 peak", "as above"))
    return checks


def crossing() -> list[Check]:
    """The statement on 5k core-hours, as one on 4e9 images."""
    hours, images = SAID["crossing_core_hours"].value, SAID["train_images"].value
    each = compute.flop_of_core_hours(hours) / 6 / images
    below = max((name for name in TRAINED if macs(name) <= each), key=macs)
    above = min((name for name in TRAINED if macs(name) > each), key=macs)
    found = [
        implied("one epoch", "above 5k core-hours more than one is best: at 5k, 4e9 images are", images, "images",
                "1 x 4e9"),
        implied("one epoch", "multiply-adds that each image then gets", each / 1e9, "1e9", "at 36 % of peak"),
        implied("one epoch", f"the next smaller model, {below}", macs(below) / 1e9, "1e9", "224 pixels, 30k classes"),
        implied("one epoch", f"the next larger model, {above}", macs(above) / 1e9, "1e9", "224 pixels, 30k classes"),
    ]  # fmt: skip
    for name, about in (("cheapest_core_hours", "F0's budget"), ("dearest_core_hours", "F7+'s budget")):
        best = math.sqrt(SAID[name].value / hours)
        how = "through one epoch at 5k core-hours with exponent one half"
        said = "best epochs, if size and epochs grow at the same rate"
        found.append(implied(about, said, best, "epochs", how))
    return found


def rates() -> list[Check]:
    """1.6, by NFNet's rule."""
    computed = SAID["base_rate"].value * SAID["batch_size"].value / 256
    return [held("learning rate", "best for every model when epochs are few", "few_epochs_rate", computed,
                 "0.1 x 4096 / 256")]  # fmt: skip


def chips() -> list[Check]:
    """TPU-v3 core-hours for one of TPU v4: by peak, and as the published pairs say; compute of ViTs beside F7+'s."""
    v3, v4 = (compute.HARDWARE[name].peak_flop_per_core_second for name in ("tpu-v3", "tpu-v4"))
    assert v3 is not None
    assert v4 is not None
    found = [implied("v3 to v4", "by peak, equal utilisation assumed", v4 / v3, "times", "137.5e12 / 61.5e12")]
    rows = {row["model"]: row for row in reversed(read("transfer.csv")) if row["core_hours_v3"]}
    for name, row in rows.items():
        bound = ", a lower bound" * ("lower bound" in row["obtained"])
        old, new = float(row["core_hours_v3"]), float(row["core_hours_v4"])
        found.append(
            implied("v3 to v4", f"{name}, as measured{bound}", old / new, "times", f"{old:g} / {new:g} core-hours")
        )
    ours = rows.pop("NFNet-F7+")
    for name, row in rows.items():
        ratio = float(row["core_hours_v4"]) / float(ours["core_hours_v4"])
        said = f"compute of {name}, {row['top1_accuracy_percent']} % top-1"
        how = f"F7+ reaches {ours['top1_accuracy_percent']} % top-1 at {float(ours['core_hours_v4']):g} core-hours"
        found.append(implied("ViT and F7+", said, ratio, "times F7+'s", how))
    return found


def front() -> list[Check]:
    """The slope of loss against compute, three ways."""
    slope = SAID["slope"].value
    span = SAID["dearest_core_hours"].value / SAID["cheapest_core_hours"].value
    fall = SAID["loss_high"].value / SAID["loss_low"].value
    return [
        held("front", "compute for 1 % of loss, times", "percent_of_loss", 0.99 ** (-1 / slope), "0.99^(-1 / .04)"),
        held("front", "slope, from the ends of Figure 2 as described", "slope", math.log(fall) / math.log(span),
             "ln(3.0 / 2.4) / ln(110k / 0.4k)"),
        implied("front", "compute for 10 % of loss", 0.9 ** (-1 / slope), "times", "0.9^(-1 / .04)"),
        implied("front", "compute between the ends, as stated", span, "times", "110k / 0.4k"),
        implied("front", "and by arithmetic, at one utilisation", macs("F7+") / macs("F0") * 32, "times",
                "ratio of multiply-adds x ratio of epochs"),
    ]  # fmt: skip


def shapes() -> list[Check]:
    """Depths, parameters and what the head is of them."""
    found = []
    for name, other in (("F1", "F0"), ("F3", "F1"), ("F7", "F3")):
        ratio = len(architecture.variant(name).blocks) / len(architecture.variant(other).blocks)
        found.append(Check("depth", f"{name} is twice as deep as {other}", 2, 2, 2, ratio, "times", "residual blocks"))
    for row in read("parameters.csv"):
        params = architecture.size(architecture.variant(row["variant"]), 224, 1000).params
        found.append(Check("parameters", row["variant"], float(row["params"]), float(row["low"]), float(row["high"]),
                           float(params), "", "arithmetic on the network's shape, 1000 classes"))  # fmt: skip
    f0 = architecture.size(architecture.variant("F0"), 224, int(SAID["classes"].value))
    head = f0.params - f0.params_body
    found.append(implied("F0, 30k classes", "share of its parameters in the head", 100 * head / f0.params, "%",
                         f"{head / 1e6:.0f} of {f0.params / 1e6:.0f} million"))  # fmt: skip
    for name in ("F0", "F7+"):
        size = architecture.size(architecture.variant(name), 224, 1000)
        ratio = 6 * size.macs_per_image / size.params
        what = "training FLOP / (parameters x images), which is not 6"
        found.append(implied(name, what, ratio, "", "224 pixels, 1000 classes"))
    return found


def speeds() -> list[Check]:
    """Shares of the TPU-v3 peak that published step times mean."""
    return [
        implied(f"{row['variant']} at {row['resolution']}", "utilisation of TPU v3", 100 * share_of_peak(row),
                "% of TPU-v3 peak", f"{row['milliseconds']} ms a step of 32 images a core")
        for row in read("step_times.csv")
    ]  # fmt: skip


def checks() -> list[Check]:
    """All of them, in the order of printing."""
    return [*ends(), *crossing(), *rates(), *chips(), *front(), *shapes(), *speeds()]


def lines(found: list[Check]) -> list[str]:
    """A table for a person."""
    rows = [("about", "what", "stated", "computed", "unit", "agrees", "how")]
    for one in found:
        stated = "-" if one.stated is None else _number(one.stated)
        agrees = {None: "", True: "yes", False: "NO"}[one.agrees]
        rows.append((one.about, one.statement, stated, _number(one.computed), one.unit, agrees, one.how))
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def main() -> None:
    """Prints statement and arithmetic side by side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    args = parser.parse_args()
    found = checks()
    if args.json:
        print(json.dumps({"checks": [one.to_dict() for one in found]}, allow_nan=False))
        return
    print("\n".join(lines(found)))
    judged = [one for one in found if one.agrees is not None]
    print(f"{sum(bool(one.agrees) for one in judged)} of {len(judged)} statements come out within their rounding; "
          f"{len(found) - len(judged)} lines have nothing stated beside them")  # fmt: skip


if __name__ == "__main__":
    main()
