"""Loss against error: groups of equal compute, their two picks, and nothing drawn that is not in the numbers."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawings import assert_apart, drawn_values, flat, texts_in_view
from transfer_runs import sweep_and_transfer

from scalelaw import figures
from scalelaw.errors import UserError
from scalelaw.figures import error_vs_loss, style
from scalelaw.runs import RunTable
from scalelaw.transfer import compare_starts

SHEET = figures.FIGURES["error_vs_loss"]
LAYOUTS = {"iso": {"grid": False}, "grid": {"budgets": 0}, "both": {}}


@pytest.fixture(scope="module", params=LAYOUTS)
def tuned(request: pytest.FixtureRequest) -> RunTable:
    return sweep_and_transfer(3.0, **LAYOUTS[request.param])


@pytest.fixture(scope="module")
def numbers(tuned: RunTable) -> dict[str, Any]:
    return error_vs_loss.collect(tuned)


def test_every_start_is_in_one_group_or_alone(tuned: RunTable, numbers: dict[str, Any]) -> None:
    points = [*numbers["alone"], *(point for group in numbers["groups"] for point in group["points"])]
    assert len(points) == tuned.frame["parent"].nunique()
    best = tuned.frame.dropna(subset="parent").groupby("parent")["top1_error"].min()
    assert sorted(point["top1_error"] for point in points) == pytest.approx(sorted(best), rel=1e-5)


def test_groups_go_from_small_to_large_and_name_their_extremes(numbers: dict[str, Any]) -> None:
    for group in numbers["groups"]:
        points = group["points"]
        assert [point["marker_size"] for point in points] == sorted(point["marker_size"] for point in points)
        assert group["core_hours"][1] <= 1.1 * group["core_hours"][0]
        for which, column in (("lowest_loss", "val_loss"), ("lowest_error", "top1_error")):
            assert points[group[which]][column] == min(point[column] for point in points)


def test_what_it_says_is_what_the_command_says(tuned: RunTable, numbers: dict[str, Any]) -> None:
    said = compare_starts(tuned).to_dict()
    assert numbers["rank_correlation"]["estimate"] == pytest.approx(said["association"]["estimate"], rel=1e-5)
    assert numbers["rank_correlation"]["verdict"] == said["association"]["verdict"]
    assert numbers["regret"]["mean"] == (said["regret"]["mean"] and pytest.approx(said["regret"]["mean"], rel=1e-5))
    assert ("cannot tell what choosing by loss costs" in numbers["caption"]) == (said["regret"]["mean"] is None)


def test_all_that_is_drawn_is_in_the_numbers_and_texts_stand_apart(numbers: dict[str, Any]) -> None:
    assert json.loads(json.dumps(numbers, allow_nan=False)) == numbers
    figure = SHEET.make(numbers)
    boxes = texts_in_view(figure)
    assert_apart(boxes)
    (ax,) = figure.axes
    for text, box in boxes.items():
        assert figure.bbox.contains(*box.min), text
        assert figure.bbox.contains(*box.max), text
        assert not ax.bbox.fully_overlaps(box), text
    known = np.array(flat(numbers))
    assert all(np.isclose(known, value, rtol=1e-9).any() for value in drawn_values(figure))
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    lines = [line for line in ax.lines if line.get_linestyle() == "-"]
    assert [len(line.get_xdata()) for line in lines] == [len(group["points"]) for group in numbers["groups"]]
    large = [group for group in numbers["groups"] if len(group["points"]) >= error_vs_loss.RINGED]
    assert sum(line.get_marker() == "D" for line in ax.lines) == len(large)


def test_the_same_bytes_again_and_axes_given_back(tmp_path: Path) -> None:
    numbers = error_vs_loss.collect(sweep_and_transfer(1.0, grid=False, budgets=3))
    once, again = (style.save(SHEET.make(copy.deepcopy(numbers)), tmp_path / name, "figure", numbers) for name in "ab")
    assert all(one.read_bytes() == other.read_bytes() for one, other in zip(once, again, strict=True))
    (ax,) = SHEET.make(numbers).axes
    assert error_vs_loss.draw(ax, numbers) is ax


def test_it_is_drawn_of_fine_tuned_runs_and_of_others_only_when_asked(tmp_path: Path) -> None:
    runs = sweep_and_transfer(1.0, grid=False, budgets=2)
    assert SHEET.concerns(runs)
    alone = RunTable.from_frame(runs.frame[runs.frame["parent"].isna()].drop(columns=["parent", "top1_error"]))
    assert not SHEET.concerns(alone)
    with pytest.raises(UserError, match=r"error_vs_loss: .*no run names a parent"):
        figures.write(alone, tmp_path, ["error_vs_loss"])
    one = runs.frame[runs.frame["parent"].isin(["p0"])]
    with pytest.raises(UserError, match="1 pre-training runs were fine-tuned"):
        error_vs_loss.collect(RunTable.from_frame(one))
