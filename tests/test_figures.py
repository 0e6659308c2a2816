"""Figures: same numbers, same bytes; every number drawn is in the JSON; no text over text; colours apart."""

from __future__ import annotations

import copy
import functools
import itertools
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text

from scalelaw import compute, figures
from scalelaw.errors import UserError
from scalelaw.figures import frontier, legend, loss_vs_compute, numbers, optimal_lr, style
from scalelaw.runs import RunTable

ROOT = Path(__file__).resolve().parents[1]
EPOCHS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
LONG_NAMES = tuple(f"resnet-wide-{50 + k}-with-squeeze-excite" for k in range(7))


def simulated(
    models: int = 7,
    epochs: tuple[float, ...] = EPOCHS,
    rates: tuple[float, ...] = (0.4, 0.8, 1.6, 3.2),
    iso: int = 5,
    noise: float = 0.005,
    names: tuple[str, ...] | None = None,
) -> RunTable:
    """A sweep of epochs x sizes x rates, and of `iso` equal-compute budgets, from a known surface and best rate."""
    rng = np.random.default_rng(0)
    images, rows = 32768, []
    sizes = [(names[k] if names else f"N{k}", 1.2e5 * 2.3**k) for k in range(models)]
    budgets = np.geomspace(2e10, 2e12, iso) if iso else []
    cells = [(*size, e) for size in sizes for e in epochs]
    cells += [(name, M, flop / 6 / M / images) for flop in budgets for name, M in sizes]
    for name, M, e in [cell for cell in cells if 0.2 < cell[2] < 9]:
        D, best = round(e * images), 1.6 * (M / 1.2e5) ** -0.1 * e**-0.2
        for rate in rates:
            loss = 0.6 + 6.5 * (M / 1e5) ** -0.28 + 3.2 * (D / 1e4) ** -0.42
            loss *= (1 + 0.03 * np.log(rate / best) ** 2) * np.exp(noise * rng.standard_normal())
            flop = compute.train_flop(M, D)
            rows.append(
                {
                    "run_id": f"r{len(rows)}", "variant": name, "status": "finished", "params": int(2 * M**0.9),
                    "macs_per_image": M, "unique_images": images, "epochs": e, "images_seen": D, "batch_size": 64,
                    "peak_lr": rate, "seed": 0, "train_flop": flop, "core_hours": compute.core_hours(flop),
                    "core_hours_basis": "estimated", "utilisation": 0.36, "val_loss": loss,
                }
            )  # fmt: skip
    return RunTable.from_frame(pd.DataFrame(rows))


def trend(alpha: float | None, width: float, status: str = "converged", line: Any = None) -> dict[str, Any]:
    interval = [None, None] if alpha is None else [alpha - width, alpha + width]
    return {
        "params": {"A": 1.0, "alpha": alpha}, "stderr": {"A": None, "alpha": None}, "status": status, "note": "",
        "interval": {"A": [None, None], "alpha": interval}, "line": line,
    }  # fmt: skip


def frontier_numbers(
    bracketed: tuple[bool, ...] = (False, True, True, True, True), status: str = "converged"
) -> dict[str, Any]:
    """Numbers as `frontier.collect` makes them: M = 8e5 (C / 1e-6)^.55 and epochs = .8 (C / 1e-6)^.45, times noise."""
    hours = np.geomspace(1e-7, 1e-5, len(bracketed))
    line = np.geomspace(4e-8, 3e-5, 12)
    result: dict[str, Any] = {
        "compute": "core_hours",
        "flop_per_core_hour": {"median": 1.782e17, "low": 1.782e17, "high": 1.782e17},
        "models": [{"name": f"N{k}", "macs_per_image": 1e5 * 2**k, "params": 7000 * 1.8**k} for k in range(7)],
        "params_trend": trend(0.48, 0.04),
        "notes": [],
    }
    for panel, quantity, at_one, power in (("size", "macs_per_image", 8e5, 0.55), ("epochs", "epochs", 0.8, 0.45)):
        mid, points = at_one * (line / 1e-6) ** power, at_one * (hours / 1e-6) ** power * 1.05
        band = {"core_hours": line, "mid": mid, "low": mid / 1.2, "high": mid * 1.2}
        result[panel] = {
            "quantity": quantity,
            "counts_images": False,
            "surface": trend(None, 0, status) if status == "failed" else trend(power, 0.04, status, band),
            "equal_compute": trend(power + 0.02, 0.1, status, {**band, "mid": mid * 1.05, "low": None, "high": None}),
            "points": {
                "core_hours": hours, quantity: points, "bracketed": list(bracketed),
                "low": [value / 1.3 if sure else None for value, sure in zip(points, bracketed, strict=True)],
                "high": [value * 1.3 if sure else None for value, sure in zip(points, bracketed, strict=True)],
            },
        }  # fmt: skip
    return dict(numbers.plain(result))


def chinchilla(sizes: int, lengths: int) -> RunTable:
    """Foreign columns: parameters, tokens and C = 6 N D on the surface of Hoffmann et al. 2022."""
    rng = np.random.default_rng(1)
    rows = [(N, D) for N in np.geomspace(1e8, 1e10, sizes) for D in np.geomspace(2e9, 2e11, lengths)]
    frame = pd.DataFrame(rows, columns=["N", "D"])
    frame["C"] = 6 * frame["N"] * frame["D"]
    frame["loss"] = (1.69 + 406 * frame["N"] ** -0.34 + 411 * frame["D"] ** -0.28) * rng.normal(1, 0.002, len(frame))
    return RunTable.from_frame(frame)


TABLES: dict[str, Callable[[], RunTable]] = {
    "full": simulated,
    "long names": lambda: simulated(names=LONG_NAMES),
    "eight models": lambda: simulated(models=8, epochs=(*EPOCHS, 16.0)),
    "epochs only": lambda: simulated(models=5, iso=0),
    "few": lambda: simulated(models=2, epochs=(1.0, 2.0), iso=0),
    "parameters and tokens": lambda: chinchilla(6, 6),
    "forty models": lambda: chinchilla(40, 2),
    "compute and loss": lambda: RunTable.from_frame(chinchilla(6, 6).frame[["train_flop", "val_loss"]]),
}
FRONTIERS: dict[str, Callable[[], dict[str, Any]]] = {
    "bounds and bars": frontier_numbers,
    "unbracketed": lambda: frontier_numbers((False, False)),
    "not identified": lambda: frontier_numbers(status="not_identified"),
    "no surface": lambda: frontier_numbers(status="failed"),
}
IMPOSSIBLE = {"figure3 parameters and tokens", "figure3 forty models", "figure3 compute and loss", "frontier few",
              "frontier compute and loss"}  # fmt: skip
CASES = [f"{name} {table}" for name in figures.FIGURES for table in TABLES if f"{name} {table}" not in IMPOSSIBLE]
CASES += [f"frontier {what}" for what in FRONTIERS]


@functools.cache
def case(which: str) -> tuple[str, dict[str, Any]]:
    """The figure and the numbers of one of `CASES`."""
    name, _, what = which.partition(" ")
    numbers_of = FRONTIERS.get(what, lambda: figures.FIGURES[name].collect(TABLES[what]()))
    return name, numbers_of()


BY_CASE = pytest.mark.parametrize("which", CASES)


def texts_in_view(figure: Figure) -> dict[str, Any]:
    """Every text that is seen, with its extent in pixels."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    hidden = set()
    for ax in figure.findobj(matplotlib.axes._base._AxesBase):
        for axis in (ax.xaxis, ax.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
                if not low * (1 - 1e-9) <= tick.get_loc() <= high * (1 + 1e-9):
                    hidden |= {tick.label1, tick.label2}
    seen = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text() and text not in hidden]
    boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in seen]
    return {f"{place}: {text}": box for place, (text, box) in enumerate(boxes) if box.width > 0}


def assert_apart(boxes: dict[str, Any]) -> None:
    """No text lies over another by more than half a pixel."""
    for (one, a), (other, b) in itertools.combinations(boxes.items(), 2):
        wide = min(a.x1, b.x1) - max(a.x0, b.x0)
        high = min(a.y1, b.y1) - max(a.y0, b.y0)
        assert wide <= 0.5 or high <= 0.5, f"{one} lies over {other}"


@BY_CASE
def test_no_text_lies_over_another_or_leaves_the_page(which: str) -> None:
    name, drawn = case(which)
    figure = figures.FIGURES[name].make(drawn)
    boxes = texts_in_view(figure)
    assert len(boxes) >= 8
    page = figure.bbox
    for text, box in boxes.items():
        assert page.contains(*box.min), f"{text} leaves the page"
        assert page.contains(*box.max), f"{text} leaves the page"
        for ax in figure.axes:
            assert not ax.bbox.contains(*box.min) or ax.bbox.contains(*box.max), f"{text} crosses the frame"
    assert_apart(boxes)


@BY_CASE
def test_no_line_or_marker_runs_through_a_text(which: str) -> None:
    name, drawn = case(which)
    figure = figures.FIGURES[name].make(drawn)
    boxes = texts_in_view(figure)
    for ax in figure.axes:
        for line in ax.lines:
            at = line.get_transform().transform(np.column_stack([line.get_xdata(), line.get_ydata()]).astype(float))
            at = np.concatenate([np.linspace(a, b, 20) for a, b in itertools.pairwise(at)]) if len(at) > 1 else at
            at = at[(at >= ax.bbox.min).all(axis=1) & (at <= ax.bbox.max).all(axis=1)]
            for text, box in boxes.items():
                inside = (at > box.min).all(axis=1) & (at < box.max).all(axis=1)
                assert not inside.any() or line.get_color() == style.GUIDE, f"a line runs through {text}"


@BY_CASE
def test_the_axes_keep_most_of_the_page(which: str) -> None:
    name, drawn = case(which)
    figure = figures.FIGURES[name].make(drawn)
    texts_in_view(figure)
    assert figure.get_figwidth() == pytest.approx(3.35)
    for ax in figure.axes:
        assert ax.get_position().width > 0.66
        assert ax.get_position().height * figure.get_figheight() > 1.2  # inches


def flat(value: Any) -> list[float]:
    """All numbers of a JSON value."""
    if isinstance(value, dict):
        return [number for entry in value.values() for number in flat(entry)]
    if isinstance(value, list):
        return [number for entry in value for number in flat(entry)]
    return [float(value)] if isinstance(value, (int, float)) and not isinstance(value, bool) else []


@BY_CASE
def test_every_number_drawn_is_in_the_json(which: str, tmp_path: Path) -> None:
    name, drawn = case(which)
    figure = figures.FIGURES[name].make(drawn)
    *_, path = style.save(figure, tmp_path, name, drawn)
    assert json.loads(path.read_text()) == drawn
    known = np.array(flat(json.loads(path.read_text())))
    plotted: list[float] = []
    for ax in figure.axes:
        lines = [line for line in ax.lines if line.get_color() != style.GUIDE]
        plotted += [value for line in lines for value in np.ravel(line.get_xydata())]
        plotted += [line.get_ydata()[0] for line in ax.lines if line.get_color() == style.GUIDE and name == "figure3"]
        for collection in ax.collections:
            assert isinstance(collection, (LineCollection, PolyCollection))
            plotted += [value for path in collection.get_paths() for value in np.ravel(path.vertices)]
    assert len(plotted) >= 8
    for value in plotted:
        assert np.isclose(known, value, rtol=1e-9, atol=0).any(), f"{value} is drawn and not in the JSON"


@pytest.mark.parametrize("which", ["figure2 full", "figure3 full", "frontier full"])
def test_redrawn_byte_for_byte_under_any_settings(which: str, tmp_path: Path) -> None:
    name, drawn = case(which)
    once = style.save(figures.FIGURES[name].make(drawn), tmp_path / "once", name, drawn)
    with matplotlib.rc_context({"font.size": 20, "axes.grid": True, "savefig.dpi": 40, "pdf.fonttype": 3}):
        before = dict(matplotlib.rcParams)
        again = style.save(figures.FIGURES[name].make(copy.deepcopy(drawn)), tmp_path / "again", name, drawn)
        assert dict(matplotlib.rcParams) == before
    assert [path.name for path in once] == [f"{name}.pdf", f"{name}.png", f"{name}.json"]
    for one, other in zip(once, again, strict=True):
        assert one.read_bytes() == other.read_bytes(), one.suffix
    assert b"CreationDate" not in once[0].read_bytes()
    assert b"/FontFile2" in once[0].read_bytes()  # fonttype 42: TrueType, embedded


def test_another_process_writes_the_same_bytes_and_no_backend_is_chosen(tmp_path: Path) -> None:
    name, drawn = case("figure2 full")
    here = style.save(figures.FIGURES[name].make(drawn), tmp_path / "here", name, drawn)
    script = (
        "import json, sys, matplotlib; from scalelaw import figures; from scalelaw.figures import style\n"
        f"drawn = json.load(open({str(here[2])!r}))\n"
        f"style.save(figures.FIGURES[{name!r}].make(drawn), {str(tmp_path / 'there')!r}, {name!r}, drawn)\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
        "assert matplotlib.rcParams._get_backend_or_none() is None\n"
    )
    environment = {"PYTHONHASHSEED": "7", "PATH": "", "HOME": str(tmp_path), "MPLCONFIGDIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", script], check=True, env=environment, cwd=ROOT)
    for path in here:
        assert path.read_bytes() == (tmp_path / "there" / path.name).read_bytes(), path.suffix


@BY_CASE
def test_draw_takes_axes_gives_them_back_and_writes_nothing(
    which: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, drawn = case(which)
    monkeypatch.chdir(tmp_path)
    sheet = figures.FIGURES[name]
    mine = Figure(figsize=(6, 8), layout="constrained")
    axes = list(np.atleast_1d(mine.subplots(sheet.panels, 1)))
    given_axes, before = (axes if sheet.panels > 1 else axes[0]), copy.deepcopy(drawn)
    assert sheet.draw(given_axes, drawn) is given_axes
    assert drawn == before
    assert mine.axes == axes
    assert not any(tmp_path.iterdir())
    assert_apart(texts_in_view(mine))  # in the user's own fonts too


# Machado, Oliveira, Fernandes 2009, severity 1, on linear RGB.
SIGHT = {
    "normal": np.eye(3),
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def cielab(colours: list[str], sight: str = "normal") -> Any:
    """CIELAB coordinates, shape (colours, 3), as seen with one kind of sight (sRGB, D65)."""
    rgb = np.array([to_rgb(colour) for colour in colours])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4) @ np.array(SIGHT[sight]).T
    to_xyz = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.072175], [0.0193339, 0.119192, 0.9503041]]
    xyz = linear.clip(0, 1) @ np.transpose(to_xyz) / [0.95047, 1.0, 1.08883]
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)


@pytest.mark.parametrize("sight", SIGHT)
@pytest.mark.parametrize("count", range(2, 9))
def test_models_keep_apart_for_every_eye_and_darken_with_size(sight: str, count: int) -> None:
    colours = style.colours(range(count))
    lab = cielab([*colours, style.INK], sight)
    distances = [np.linalg.norm(a - b) for a, b in itertools.combinations(lab, 2)]
    assert min(distances) >= 10
    assert (np.diff(cielab(colours)[:, 0]) < -5).all()  # in grey print too


def test_a_model_has_one_colour_in_all_figures() -> None:
    table = simulated()
    subset = table.where(np.isin(table.variant, ["N1", "N4"]) | (table.epochs == 1.0))
    shades = []
    for name in ("figure2", "figure3"):
        drawn = figures.FIGURES[name].collect(subset)
        assert [row["name"] for row in drawn["models"]] == [f"N{k}" for k in range(7)]
        ax = Figure().subplots()
        figures.FIGURES[name].draw(ax, drawn)
        shades.append({line.get_color() for line in ax.lines} - {style.INK, style.GUIDE})
    assert shades[0] == shades[1] == set(style.colours(range(7)))


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
             "bound": ["above", "inside"]},
            {"model": "N1", "epochs": [1, 2], "best_lr": [1.6, 0.8], "low": [1.3, None], "high": [2.0, None],
             "bound": ["inside", "below"]},
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


@given(st.floats(1e-12, 1e12), st.floats(1.02, 1e4))
def test_plain_ticks_are_round_apart_and_enough(low: float, ratio: float) -> None:
    ticks = style.plain_ticks(low, low * ratio)
    assert 2 <= len(ticks) <= 8
    assert ticks == sorted(ticks)
    assert low <= ticks[0]
    assert ticks[-1] <= low * ratio
    assert np.diff(np.log(ticks)).min() > 0.6 / 8 * np.log(ratio)
    assert all(len(f"{tick:.12g}".replace(".", "").strip("0").partition("e")[0].rstrip("0")) <= 4 for tick in ticks)


@pytest.mark.parametrize(
    ("value", "interval", "text"),
    [
        (0.11234, (0.10312, 0.12156), "0.112 [0.103, 0.122]"),
        (0.5, (0.42, 0.58), "0.50 [0.42, 0.58]"),
        (-0.121, (-0.16, -0.08), "−0.12 [−0.16, −0.08]"),
        (-0.001, (-0.2, 0.2), "0.0 [−0.2, 0.2]"),
        (0.3, (0.1, None), "0.3 [0.1, open]"),
        (0.3, (None, None), "0.300 (interval unknown)"),
        (0.3, None, "0.300 (interval unknown)"),
        (None, None, "unknown"),
    ],
)
def test_an_estimate_is_written_to_the_digits_its_interval_supports(value: Any, interval: Any, text: str) -> None:
    assert numbers.with_interval(value, interval) == text


def test_sizes_in_words() -> None:
    words = {57300: "57k", 1.2e9: "1.2B", 999.6: "1k", 12: "12", 9.96e6: "10M"}
    assert {value: numbers.in_words(value) for value in words} == words


def test_plain_numbers_are_json_with_unknown_as_null() -> None:
    raw = {"a": np.float64(1 / 3), "b": np.array([1.0, np.nan, np.inf]), "c": (np.int64(7), True, None), 0.5: "x"}
    assert numbers.plain(raw) == {"a": 0.333333, "b": [1.0, None, None], "c": [7, True, None], "0.5": "x"}


def test_long_names_keep_beginning_and_end() -> None:
    assert legend.shortened("N7") == "N7"
    assert legend.shortened("a" * 30 + "z" * 30) == "a" * 15 + "…" + "z" * 8


class TestWrite:
    def test_a_table_without_rates_gives_figure2_and_says_what_it_skipped(self, tmp_path: Path) -> None:
        table = simulated(models=3, rates=(1.6,), iso=0)
        written = figures.write(table, tmp_path)
        assert {path.name for path in written.paths} >= {"figure2.pdf", "figure2.png", "figure2.json"}
        assert [text for text in written.skipped if text.startswith("figure3: ")]
        assert {path.name for path in tmp_path.iterdir()} == {path.name for path in written.paths}
        with pytest.raises(UserError, match="figure3: "):
            figures.write(table, tmp_path / "asked", ["figure2", "figure3"])
        assert not (tmp_path / "asked").exists()

    def test_an_unknown_name_names_the_nearest(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="unknown figure 'figure22'; did you mean 'figure2'"):
            figures.write(simulated(models=2), tmp_path / "out", ["figure22"])
        assert not (tmp_path / "out").exists()

    def test_nothing_to_draw_is_an_error_that_names_every_reason(self, tmp_path: Path) -> None:
        with pytest.raises(UserError) as raised:
            figures.write(simulated(models=1, epochs=(1.0,), rates=(1.6,), iso=0), tmp_path / "out")
        assert [message.partition(":")[0] for message in raised.value.messages] == list(figures.FIGURES)
        assert not (tmp_path / "out").exists()

    def test_a_folder_that_cannot_be_written_changes_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("mine")
        for folder in (tmp_path / "file", Path("/proc/nowhere")):
            with pytest.raises(UserError, match="cannot write figure2"):
                figures.write(simulated(models=2, iso=0), folder, ["figure2"])
        assert (tmp_path / "file").read_text() == "mine"
        assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.slow
@pytest.mark.parametrize("name", figures.FIGURES)
def test_the_analysis_script_draws_a_recorded_sweep(name: str, tmp_path: Path) -> None:
    simulated().write(tmp_path / "demo" / "runs.parquet")
    command = [
        sys.executable,
        str(ROOT / "analysis" / f"{name}.py"),
        str(tmp_path / "demo"),
        "-o",
        str(tmp_path / "out"),
    ]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert printed.split() == [str(tmp_path / "out" / f"{name}.{kind}") for kind in ("pdf", "png", "json")]
    assert all(Path(path).stat().st_size > 500 for path in printed.split())
