"""Figures of several panels: no text over text, every number drawn in the JSON, same numbers same bytes."""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from drawings import assert_apart, drawn_values, flat, outcomes_at, sweep, texts_in_view
from matplotlib.figure import Figure

from scalelaw import figures
from scalelaw.errors import UserError
from scalelaw.figures import prediction, style
from scalelaw.figures.panels import Layout, outer, page, row
from scalelaw.runs import RunTable

NAMES = ("equal_compute", "surface", "residuals", "roll_outs", "learning_rate_basins", "prediction")
LONG = tuple(f"resnet-wide-{50 + k}-with-squeeze-excite" for k in range(5))


def with_extremes() -> RunTable:
    """Budgets whose best size is at either edge, rates that diverged or lie far off, cells with edge optima."""
    table = sweep(rates=(0.1, 0.2, 0.4), budgets=(1.5e9, 1e11, 3e12), curve=0.3)
    frame = table.frame.copy()
    top = (frame["peak_lr"] == 0.4) & (frame["variant"] == "N4")
    frame.loc[top & (frame["epochs"] > 1), "status"] = "diverged"
    return RunTable.from_frame(frame)


TABLES: dict[str, Callable[[], RunTable]] = {
    "full": sweep,
    "long names": lambda: sweep(names=LONG, budgets=(2e10, 6e10, 2e11, 6e11)),
    "extremes": with_extremes,
}
CASES = [f"{name} {what}" for name in NAMES for what in TABLES] + ["prediction outcomes"]
BY_CASE = pytest.mark.parametrize("which", CASES)


@functools.cache
def case(which: str) -> tuple[str, Any]:
    """The figure and the numbers of one of `CASES`."""
    name, _, what = which.partition(" ")
    if what == "outcomes":
        runs = sweep(budgets=(2e10, 1e11))
        return name, prediction.collect(runs, outcomes_at(4 * float(runs.train_flop.max())))
    return name, figures.FIGURES[name].collect(TABLES[what]())


@functools.cache
def laid_out(which: str) -> tuple[Figure, dict[str, Any]]:
    """The figure of one of `CASES` as it stands on its page, and the texts that are seen: to look at, not to change."""
    name, drawn = case(which)
    figure = figures.FIGURES[name].make(drawn)
    return figure, texts_in_view(figure)


@BY_CASE
def test_no_text_lies_over_another_or_leaves_the_page_or_is_crossed(which: str) -> None:
    figure, boxes = laid_out(which)
    assert len(boxes) >= 8
    for text, box in boxes.items():
        assert figure.bbox.contains(*box.min), f"{text} leaves the page"
        assert figure.bbox.contains(*box.max), f"{text} leaves the page"
        for ax in figure.axes:
            assert not ax.bbox.fully_overlaps(box), f"{text} lies in a panel, where lines and runs are"
    assert_apart(boxes)
    for ax in figure.axes:
        size = ax.get_position()
        assert size.width * figure.get_figwidth() > 0.7  # inches
        assert size.height * figure.get_figheight() > 0.5


@BY_CASE
def test_every_number_drawn_is_in_the_json(which: str) -> None:
    (name, drawn), (figure, _) = case(which), laid_out(which)
    assert json.loads(json.dumps(drawn, allow_nan=False)) == drawn
    known = np.array(flat(drawn))
    if name in ("residuals", "prediction"):  # models stand at whole places, and 95 % of runs at 1.96 deviations
        noise = drawn["noise"]["value"] if drawn.get("noise") else 0.0
        known = np.concatenate([known, np.arange(12), [-1.96 * noise, 1.96 * noise]])
    values = [value for value in drawn_values(figure) if value not in (0.0, 1.0)]
    assert len(values) >= 8
    edges = [edge for ax in figure.axes for edge in ax.get_ylim()]  # an open interval reaches the frame
    for value in values:
        known_here = np.isclose(known, value, rtol=1e-9, atol=0).any()
        assert known_here or value in edges, f"{value} is drawn and not in the JSON"


@pytest.mark.parametrize("name", NAMES)
def test_redrawn_byte_for_byte_under_any_settings(name: str, tmp_path: Path) -> None:
    _, drawn = case(f"{name} full")
    once = style.save(figures.FIGURES[name].make(drawn), tmp_path / "once", name, drawn)
    with matplotlib.rc_context({"font.size": 20, "axes.grid": True, "savefig.dpi": 40, "pdf.fonttype": 3}):
        again = style.save(figures.FIGURES[name].make(copy.deepcopy(drawn)), tmp_path / "again", name, drawn)
    for one, other in zip(once, again, strict=True):
        assert one.read_bytes() == other.read_bytes(), one.suffix
    assert json.loads(once[2].read_text()) == drawn


@pytest.mark.parametrize("name", NAMES)
def test_draw_takes_axes_gives_them_back_and_writes_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, drawn = case(f"{name} full")
    monkeypatch.chdir(tmp_path)
    sheet = figures.FIGURES[name]
    layout = sheet.layout(drawn)
    mine = Figure(figsize=(12, 9), layout="constrained")
    axes = list(mine.subplots(layout.rows, layout.columns, squeeze=False).ravel())[: layout.count]
    given, before = (axes if sheet.several else axes[0]), copy.deepcopy(drawn)
    assert sheet.draw(given, drawn) is given
    assert drawn == before
    assert set(axes) <= set(mine.axes)
    assert not any(tmp_path.iterdir())


def test_a_model_has_one_colour_in_all_figures() -> None:
    shades = set(style.colours(range(5)))
    for name in NAMES:
        figure = figures.FIGURES[name].make(case(f"{name} full")[1])
        colours = {line.get_color() for ax in figure.axes for line in ax.lines if line.get_marker() == "o"}
        assert colours & shades
        assert colours <= shades, name


def test_a_short_row_keeps_its_labels_and_leaves_no_empty_panel() -> None:
    layout = row(5, 1.5)
    assert (layout.rows, layout.columns) == (2, 3)
    figure, axes = page(layout)
    assert len(axes) == len(figure.axes) == 5
    assert [left for left, _ in outer(axes)] == [True, False, False, True, False]
    assert [foot for _, foot in outer(axes)] == [False, False, True, True, True]
    alone = Figure().add_axes((0, 0, 1, 1))
    assert outer([alone]) == [(True, True)]
    assert Layout(2.0).rows == 1


def test_what_the_runs_do_not_allow_is_skipped_and_says_why(tmp_path: Path) -> None:
    table = sweep(models=2, epochs=(1.0, 2.0), budgets=(), rates=(0.8, 1.6))
    written = figures.write(table, tmp_path)
    drawn = {path.stem for path in written.paths}
    assert drawn == {"figure2", "figure3", "learning_rate_basins"}
    said = {text.partition(":")[0]: text for text in written.skipped}
    assert set(said) == set(figures.FIGURES) - drawn - {"figure1", "error_vs_loss"}  # of fine-tuned runs
    assert "no three sizes at equal compute" in said["equal_compute"]
    assert "fewer than 10 runs" in said["roll_outs"]
    with pytest.raises(UserError, match="no three sizes at equal compute"):
        figures.write(table, tmp_path / "asked", ["equal_compute"])
