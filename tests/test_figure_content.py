"""What a figure shows of its table: laws, bounds, exponents, notes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from figure_cases import EPOCHS, frontier_numbers, simulated
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.text import Text

from scalelaw import figures
from scalelaw.errors import UserError
from scalelaw.figures import frontier, loss_vs_compute, numbers, optimal_lr, style
from scalelaw.runs import RunTable


def test_a_known_law_is_read_off_the_front() -> None:
    # every run on L = 2 C^-.05: all on the front, and the exponent is exact
    hours = np.geomspace(1e-7, 1e-3, 9)
    frame = pd.DataFrame({"core_hours": hours, "val_loss": 2 * hours**-0.05, "params": np.repeat([1e4, 1e5, 1e6], 3)})
    drawn = loss_vs_compute.collect(RunTable.from_frame(frame))
    assert drawn["front"]["params"]["alpha"] == pytest.approx(0.05, rel=1e-5)
    assert drawn["front"]["params"]["A"] == pytest.approx(2, rel=1e-5)
    assert drawn["front"]["line"]["mid"][0] == pytest.approx(2 * hours[0] ** -0.05, rel=1e-5)
    assert [row["name"] for row in drawn["models"]] == ["10k", "100k", "1M"]
    assert all(all(curve["on_front"]) for curve in drawn["curves"])


def test_front_markers_are_the_runs_that_no_cheaper_run_matches() -> None:
    drawn = loss_vs_compute.collect(simulated())
    points = [
        (hours, loss, front)
        for curve in drawn["curves"]
        for hours, loss, front in zip(curve["core_hours"], curve["val_loss"], curve["on_front"], strict=True)
    ]
    for hours, loss, front in points:
        if front:  # the JSON's six digits cannot tell costs closer than 1e-5
            assert not any(cost < hours * (1 - 1e-5) and other <= loss for cost, other, _ in points)
        else:
            assert any(cost <= hours * (1 + 1e-5) and other <= loss for cost, other, _ in points)
    assert drawn["front"]["runs"] == sum(front for *_, front in points) > 5
    ax = Figure().subplots()
    loss_vs_compute.draw(ax, drawn)
    filled = [line for line in ax.lines if line.get_linestyle() == "None" and line.get_markerfacecolor() != "white"]
    assert len(filled) == drawn["front"]["runs"]


def test_budgets_of_one_model_alone_are_dots_not_markers() -> None:
    drawn = loss_vs_compute.collect(simulated())
    assert drawn["epoch_budgets"] == list(EPOCHS)
    assert len({epochs for curve in drawn["curves"] for epochs in curve["epochs"]}) > len(EPOCHS)
    words = texts_of(figures.FIGURES["figure2"].make(drawn))
    assert {"Model", "Epochs", "0.25", "8", "other"} <= words


def test_lines_join_runs_on_one_training_set_alone() -> None:
    """Two training sets of one model cross at equal lengths: a line through both would run up and down."""
    rows = [(f"r{u}{k}{lr}", 1e4, u, u * 2.0**k, 2.0**k, lr, 3 - 0.3 * k - u / 1e4 + lr)
            for u in (1000, 4000) for k in range(4) for lr in (0.1, 0.2)]  # fmt: skip
    names = ["run_id", "params", "unique_images", "images_seen", "epochs", "peak_lr", "val_loss"]
    frame = pd.DataFrame(rows, columns=names).assign(core_hours=lambda f: 1e-9 * f["images_seen"])
    runs = RunTable.from_frame(frame)
    for figure, compute in ((loss_vs_compute, "core_hours"), (optimal_lr, "epochs")):
        drawn = figure.collect(runs)
        (curve,) = drawn["curves"]
        assert sorted(curve["series"]) == [0] * 4 + [1] * 4
        assert "on one training set" in drawn["caption"]
        ax = Figure().subplots()
        figure.draw(ax, drawn)
        lines = [line.get_xdata() for line in ax.lines if line.get_linestyle() != "None" and len(line.get_xdata()) > 1]
        lines = [x for x in lines if len(x) in (2, 4) and set(x) <= set(curve[compute])]
        assert len(lines) == (2 if figure is loss_vs_compute else 6)
        assert all((np.diff(x) > 0).all() for x in lines)


def texts_of(figure: Figure) -> set[str]:
    return {text.get_text() for text in figure.findobj(Text)}


def test_utilisation_that_differs_is_said_on_the_flop_axis() -> None:
    table = simulated(models=3)
    assert "Training FLOP" in texts_of(figures.FIGURES["figure2"].make(loss_vs_compute.collect(table)))
    frame = table.frame.copy()
    slow = frame["variant"] == "N0"
    frame.loc[slow, "core_hours"] *= 2
    frame.loc[slow, "utilisation"] /= 2
    drawn = loss_vs_compute.collect(RunTable.from_frame(frame))
    assert drawn["flop_per_core_hour"]["high"] == pytest.approx(2 * drawn["flop_per_core_hour"]["low"], rel=1e-5)
    assert "Training FLOP (at the median utilisation)" in texts_of(figures.FIGURES["figure2"].make(drawn))


def test_what_a_figure_leaves_out_is_in_its_notes() -> None:
    frame = simulated(models=3, iso=0).frame.copy()
    frame.loc[0, "status"] = "diverged"
    frame.loc[5, "core_hours"] = np.nan
    drawn = loss_vs_compute.collect(RunTable.from_frame(frame))
    assert any("1 diverged" in note for note in drawn["notes"])
    assert any("1 without core_hours" in note for note in drawn["notes"])


def test_an_optimum_at_the_edge_of_the_grid_is_drawn_as_a_bound() -> None:
    drawn = {
        "models": [{"name": "N0"}, {"name": "N1"}],
        "rates": [0.8, 1.6, 3.2],
        "trend": None,
        "curves": [
            {"model": "N0", "epochs": [1, 2], "best_lr": [3.2, 1.5], "low": [None, 1.2], "high": [None, 1.9],
             "bound": ["above", "inside"], "series": [0, 0]},
            {"model": "N1", "epochs": [1, 2], "best_lr": [1.6, 0.8], "low": [1.3, None], "high": [2.0, None],
             "bound": ["inside", "below"], "series": [0, 0]},
        ],
    }  # fmt: skip
    ax = Figure().subplots()
    optimal_lr.draw(ax, drawn)
    lines = [line for line in ax.lines if len(line.get_xydata())]
    hollow = {tuple(line.get_xydata()[0]) for line in lines if line.get_markerfacecolor() == "white"}
    assert hollow == {(1.0, 3.2), (2.0, 0.8)}
    arrows = {
        word: [tuple(line.get_xydata()[0]) for line in lines if is_arrow(line, word)] for word in ("above", "below")
    }
    assert arrows == {"above": [(1.0, 3.2)], "below": [(2.0, 0.8)]}
    bars = [segment for c in ax.collections for path in c.get_paths() for segment in [path.vertices]]
    assert sorted(tuple(np.round(bar[:, 1], 9)) for bar in bars) == [(1.2, 1.9), (1.3, 2.0)]
    assert "bound: best rate at the grid's edge" in texts_of(ax.figure)


def is_arrow(line: Any, word: str) -> bool:
    vertices = getattr(line.get_marker(), "vertices", None)
    return vertices is not None and np.array_equal(vertices, style.ARROWS[word].vertices)


def test_an_exponent_without_identification_says_so_in_place_of_the_estimate() -> None:
    words = texts_of(figures.FIGURES["frontier"].make(frontier_numbers(status="not_identified")))
    assert "surface: $a$ not identified [0.51, 0.59]" in words  # of size
    assert "equal $C$: $a$ not identified [0.37, 0.57]" in words  # of epochs
    figure = figures.FIGURES["frontier"].make(frontier_numbers(status="failed"))
    assert "surface: $a$ unknown" in texts_of(figure)
    assert not [line for line in figure.axes[0].lines if line.get_color() == style.INK]


def test_the_frontier_draws_the_exponents_that_the_surface_has() -> None:
    # on E + A M^-.28 + B D^-.42 the best size grows with exponent .42 / .70 in multiply-adds
    drawn = frontier.collect(simulated())
    for panel, truth in (("size", 0.6), ("epochs", 0.4)):
        surface = drawn[panel]["surface"]
        low, high = surface["interval"]["alpha"]
        assert low < truth < high
        slope = np.polyfit(np.log(surface["line"]["core_hours"]), np.log(surface["line"]["mid"]), 1)[0]
        assert slope == pytest.approx(surface["params"]["alpha"], rel=1e-4)
    assert len(drawn["size"]["points"]["bracketed"]) >= 3
    estimate = numbers.with_interval(*(drawn["size"]["surface"][what]["alpha"] for what in ("params", "interval")))
    assert rf"$M^* \propto C^{{\,a}}$, $a$ = {estimate}" in texts_of(figures.FIGURES["frontier"].make(drawn))


def test_bracketed_minima_have_bars_mirrored_between_size_and_epochs() -> None:
    drawn = frontier.collect(simulated())
    size, epochs = (drawn[panel]["points"] for panel in ("size", "epochs"))
    assert size["bracketed"].count(True) >= 3
    for k, sure in enumerate(size["bracketed"]):
        assert (size["low"][k] is not None) == sure
        if sure:
            assert size["low"][k] < size["macs_per_image"][k] < size["high"][k]
            shrunk = size["macs_per_image"][k] / size["high"][k]
            assert epochs["low"][k] / epochs["epochs"][k] == pytest.approx(shrunk, rel=1e-5)
    figure = figures.FIGURES["frontier"].make(drawn)
    bars = [path.vertices[:, 1] for c in figure.axes[0].collections if isinstance(c, LineCollection)
            for path in c.get_paths()]  # fmt: skip
    assert [bar[1] for bar in bars if bar[0] < bar[1]] == [end for end in size["high"] if end is not None]
    assert "lowest loss at equal compute, bracketed, 95 % interval" in texts_of(figure)


def test_one_budget_of_equal_compute_is_no_frontier() -> None:
    """Whose axis of compute would have no width."""
    macs = np.geomspace(1e4, 1.6e5, 5)
    frame = pd.DataFrame(
        {
            "macs_per_image": macs,
            "images_seen": 4e9 / macs,
            "train_flop": 2.4e10,
            "val_loss": 1 + 0.1 * np.log(macs / 4e4) ** 2,
        }
    )
    table = RunTable.from_frame(frame)
    assert figures.FIGURES["equal_compute"].collect(table)["panels"]
    with pytest.raises(
        UserError, match=r"one budget of equal compute shows no trend \(equal_compute draws it\); add others"
    ):
        frontier.collect(table)


def test_the_trend_of_rates_is_written_with_its_intervals() -> None:
    trend = (drawn := optimal_lr.collect(simulated(noise=0.001)))["trend"]
    assert trend["params"]["b"] == pytest.approx(-0.1, abs=0.03)
    assert trend["params"]["c"] == pytest.approx(-0.2, abs=0.03)
    written = [f"${name}$ = {numbers.with_interval(trend['params'][name], trend['interval'][name])}" for name in "bc"]
    assert ", ".join(written) in texts_of(figures.FIGURES["figure3"].make(drawn))


def test_the_parameter_axis_is_exact_at_the_models() -> None:
    rows = frontier_numbers()["models"]
    there = frontier._between(*np.log([[row[name] for row in rows] for name in ("macs_per_image", "params")]))
    back = frontier._between(*np.log([[row[name] for row in rows] for name in ("params", "macs_per_image")]))
    for row in rows:
        assert there(row["macs_per_image"]) == pytest.approx(row["params"], rel=1e-9)
    sizes = np.geomspace(1e3, 1e9, 50)  # far beyond the models on both sides
    assert back(there(sizes)) == pytest.approx(sizes, rel=1e-9)
