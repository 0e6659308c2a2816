"""Figure 1: error after fine-tuning against pre-training compute, with its law and published points."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from drawings import assert_apart, drawn_values, flat, texts_in_view

from scalelaw import figures
from scalelaw.errors import UserError
from scalelaw.figures import error_vs_compute, style
from scalelaw.runs import RunTable

E, A, ALPHA = 0.08, 0.0002, 0.45
REFERENCES = [
    {"name": "one", "core_hours": 1.1e5, "top1_error": 0.097, "estimated": False, "source": "a paper"},
    {"name": "another", "core_hours": 1.3e5, "top1_error": 0.097, "estimated": True, "source": "a paper"},
    {"name": "a third", "core_hours": 2.8e5, "top1_error": 0.0955, "estimated": True, "source": "a paper"},
]


def tuned(noise: float = 0.0, repeats: bool = False, sizes: int = 4) -> RunTable:
    """Starts whose error is E + A C^-ALPHA at the best of two fine-tuning rates, a tenth more at the other."""
    rng, rows = np.random.default_rng(0), []
    for k, name in enumerate(f"N{k}" for k in range(sizes)):
        for epochs in (0.25, 0.5, 1.0, 2.0):
            cost = 1e-7 * 3.7**k * epochs
            for rate, worse, copies in ((0.1, 1.0, 1), (0.2, 1.1, 1), *([(0.1, 0.9, 4)] if repeats else [])):
                config = {"train": {"repeats": copies, "peak_lr": rate}, "data": {}} if copies > 1 else {"train": {}}
                rows.append({
                    "run_id": f"r{len(rows)}", "status": "finished", "parent": f"{name}-{epochs}", "variant": name,
                    "macs_per_image": 1e5 * 2.0**k, "parent_core_hours": cost, "parent_val_loss": 1.0, "peak_lr": rate,
                    "core_hours": cost / 8, "config": json.dumps(config),
                    "top1_error": (E + A * cost**-ALPHA) * worse * np.exp(noise * rng.normal()),
                })  # fmt: skip
    return RunTable.from_frame(pd.DataFrame(rows))


def test_a_known_law_and_its_floor_are_read_off_the_front() -> None:
    front = error_vs_compute.collect(tuned())["front"]
    assert (front["law"], front["status"]) == ("offset", "converged")
    assert front["params"] == pytest.approx({"E": E, "A": A, "alpha": ALPHA}, rel=1e-4)


def test_each_start_is_one_point_at_its_best_fine_tuning() -> None:
    numbers = error_vs_compute.collect(tuned())
    assert len(numbers["points"]) == 16
    for point in numbers["points"]:
        assert point["top1_error"] == pytest.approx(E + A * point["core_hours"] ** -ALPHA, rel=1e-5)
        assert point["total_core_hours"] == pytest.approx(1.125 * point["core_hours"], rel=1e-5)
    assert numbers["repeated_augmentation"] == []


def test_repeated_augmentation_has_points_of_its_own() -> None:
    numbers = error_vs_compute.collect(tuned(repeats=True))
    assert len(numbers["points"]) == len(numbers["repeated_augmentation"]) == 16
    plainly, repeated = numbers["points"][0], numbers["repeated_augmentation"][0]
    assert repeated["top1_error"] == pytest.approx(0.9 * plainly["top1_error"], rel=1e-5)
    stars = [line for line in figures.FIGURES["figure1"].make(numbers).axes[0].lines if line.get_marker() == "*"]
    assert len(stars) == 16


@pytest.mark.parametrize("scale", [1.0, 1e12])
def test_references_far_from_the_runs_stand_in_a_panel_of_their_own(scale: float) -> None:
    frame = tuned().frame
    runs = RunTable.from_frame(frame.assign(parent_core_hours=frame["parent_core_hours"] * scale))
    numbers = error_vs_compute.collect(runs, REFERENCES)
    figure = figures.FIGURES["figure1"].make(numbers)
    assert len(figure.axes) == (2 if scale == 1 else 1)
    shown = [line for line in figure.axes[-1].lines if line.get_marker() in ("D", "s")]
    assert [line.get_marker() for line in shown] == ["D", "s", "s"]
    assert_apart(texts_in_view(figure))
    known = np.array(flat(numbers))
    assert all(np.isclose(known, value, rtol=1e-9).any() for value in drawn_values(figure))


def test_a_short_front_has_a_law_without_a_floor_and_a_shorter_one_none() -> None:
    frame = tuned().frame
    four = error_vs_compute.collect(RunTable.from_frame(frame[frame["variant"] == "N0"]))
    assert four["front"]["law"] == "power"
    two = error_vs_compute.collect(RunTable.from_frame(frame[frame["parent"].isin(["N0-0.25", "N0-0.5"])]))
    assert two["front"] is None
    assert any(note.startswith("no law for the errors") for note in two["notes"])
    figures.FIGURES["figure1"].make(two)


def test_the_figure_is_drawn_for_fine_tuned_runs_and_for_others_only_when_asked(tmp_path: Path) -> None:
    written = figures.write(tuned(), tmp_path / "tuned")
    assert "figure1.pdf" in {path.name for path in written.paths}
    others = RunTable.from_frame(tuned().frame.drop(columns="parent"))
    with pytest.raises(UserError, match=r"figure1: .*no run names a parent"):
        figures.write(others, tmp_path / "others", ["figure1"])


def test_the_same_bytes_again(tmp_path: Path) -> None:
    numbers: dict[str, Any] = error_vs_compute.collect(tuned(0.02), REFERENCES)
    sheet = figures.FIGURES["figure1"]
    once, again = (
        style.save(sheet.make(copy.deepcopy(numbers)), tmp_path / name, "figure1", numbers) for name in ("one", "two")
    )
    assert all(one.read_bytes() == other.read_bytes() for one, other in zip(once, again, strict=True))
