"""Numbers drawn are numbers fitted: each figure against the truth of a simulated sweep, or against the fit itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from drawings import ALPHA, BETA, DATA_UNIT, SIZE_UNIT, A, B, E, best_rate, outcomes_at, sweep
from matplotlib.figure import Figure

from scalelaw import compute, plan
from scalelaw.backtest import hold_out_largest
from scalelaw.errors import UserError
from scalelaw.figures import (
    equal_compute,
    learning_rate_basins,
    numbers,
    prediction,
    residuals,
    roll_outs,
    style,
    surface,
)
from scalelaw.frontiers import frontier
from scalelaw.laws import SizeData
from scalelaw.learning_rate import optimal_learning_rates


def optimal_size(flop: float) -> float:
    """Multiply-adds of lowest loss on the simulated surface: A ALPHA m^-ALPHA = B BETA d^-BETA."""
    product = flop / 6 / SIZE_UNIT / DATA_UNIT
    return float(SIZE_UNIT * (A * ALPHA / (B * BETA) * product**BETA) ** (1 / (ALPHA + BETA)))


class TestEqualCompute:
    def test_the_exact_shape_goes_through_runs_without_noise_and_has_the_true_minimum(self) -> None:
        drawn = equal_compute.collect(sweep(noise=1e-6, curve=0.0))
        assert drawn["shape"] == pytest.approx({"alpha": ALPHA, "beta": BETA}, rel=0.02)
        bracketed = [panel for panel in drawn["panels"] if panel["bracketed"]]
        assert len(bracketed) >= 2
        ratios = [panel["parabola"]["size"] / panel["exact"]["size"] for panel in bracketed]
        assert np.abs(np.log(ratios)).max() > 0.01  # the parabola is biased even without noise
        for panel in bracketed:
            exact, runs = panel["exact"], panel["runs"]
            assert exact["size"] == pytest.approx(optimal_size(panel["train_flop"]), rel=0.01)
            log_line = np.log(exact["line"]["size"]), np.log(exact["line"]["loss"])
            assert np.interp(np.log(runs["size"]), *log_line) == pytest.approx(np.log(runs["val_loss"]), abs=2e-3)
            assert exact["low"] < exact["size"] < exact["high"]

    def test_minima_are_the_frontiers_and_bands_their_intervals(self) -> None:
        table = sweep(noise=0.01)
        drawn, points = equal_compute.collect(table), frontier(table).points
        for name, what in (("exact", "equal_compute"), ("parabola", "parabola")):
            theirs = points[(points["approach"] == what) & points["bracketed"].astype(bool)]
            mine = [panel[name] for panel in drawn["panels"] if panel[name]]
            assert [curve["size"] for curve in mine] == pytest.approx(theirs["macs_per_image"].tolist(), rel=1e-5)
            assert [curve["loss"] for curve in mine] == pytest.approx(theirs["val_loss"].tolist(), rel=1e-5)
            for curve in mine:
                assert min(curve["line"]["loss"]) == pytest.approx(curve["loss"], rel=2e-3)
            for end in ("low", "high"):
                ends = np.array([curve[end] for curve in mine], dtype=float)
                assert ends == pytest.approx(theirs[f"macs_per_image_{end}"].to_numpy(), rel=1e-5, nan_ok=True)
                assert np.isnan(ends).all() == (name == "parabola")

    def test_intervals_widen_in_proportion_to_the_noise(self) -> None:
        widths = []
        for noise in (0.002, 0.004):
            panels = equal_compute.collect(sweep(noise=noise, rates=(1.6,), curve=0.0))["panels"]
            widths.append([np.log(p["exact"]["high"] / p["exact"]["low"]) for p in panels if p["exact"]])
        assert np.array(widths[1]) / widths[0] == pytest.approx(2.0, rel=0.25)

    def test_a_best_size_at_the_edge_is_a_bound_that_points_outwards(self) -> None:
        drawn = equal_compute.collect(sweep(budgets=(1.5e9, 1e11, 3e12), noise=1e-4, curve=0.0))
        assert [panel["bound"] for panel in drawn["panels"]] == ["below", None, "above"]
        axes = list(Figure().subplots(1, 3))
        equal_compute.draw(axes, drawn)
        for ax, panel in zip(axes, drawn["panels"], strict=True):
            words = ("not bracketed" in ax.get_title(), panel["exact"] is None, panel["parabola"] is None)
            assert words == (not panel["bracketed"],) * 3
            arrows = [line for line in ax.lines if arrow_of(line)]
            assert [arrow_of(line) for line in arrows] == ([panel["bound"]] if panel["bound"] else [])
            assert not arrows or arrows[0].get_xdata()[0] == panel["best"]["size"]


def arrow_of(line: Any) -> str:
    """Which way a drawn arrow points; nothing for other marks."""
    vertices = getattr(line.get_marker(), "vertices", None)
    return next((word for word in ("above", "below") if np.array_equal(vertices, style.SIDEWAYS[word].vertices)), "")


class TestSurface:
    def test_contours_lie_on_the_surface_and_reach_the_frame(self) -> None:
        drawn = surface.collect(sweep())
        law = drawn["surface"]["params"]
        left, right, bottom, top = drawn["box"]
        assert len(drawn["contours"]) >= 4
        for line in drawn["contours"]:
            N, D = np.array(line["size"]), np.array(line["data"])
            loss = law["E"] + law["A"] * N ** -law["alpha"] + law["B"] * D ** -law["beta"]
            assert loss == pytest.approx(line["loss"], rel=1e-4)
            assert N[0] == pytest.approx(left) or D[0] == pytest.approx(top, rel=1e-4)
            assert N[-1] == pytest.approx(right) or D[-1] == pytest.approx(bottom, rel=1e-4)

    def test_the_path_is_the_frontiers_with_the_true_exponent_and_its_band_at_equal_compute(self) -> None:
        table = sweep(noise=0.002)
        drawn, front = surface.collect(table), frontier(table)
        path = drawn["path"]
        band = front.approaches["surface"]["size"].predict(np.array(path["compute"]))
        assert path["size"] == pytest.approx(band.mid.tolist(), rel=1e-5)
        assert path["smaller"]["size"] == pytest.approx(band.low.tolist(), rel=1e-5)
        assert path["interval"][0] < BETA / (ALPHA + BETA) < path["interval"][1]
        for edge in (path, path["smaller"], path["larger"]):
            hours = compute.core_hours(1.0) * 6 * np.array(edge["size"]) * edge["data"]
            assert hours == pytest.approx(path["compute"], rel=1e-3)
        for line in drawn["equal_compute"]:
            assert line["size"][0] * line["data"][0] == pytest.approx(line["size"][1] * line["data"][1], rel=1e-5)


def test_residuals_are_those_of_the_surface_and_means_their_means() -> None:
    table = sweep(noise=0.01)
    drawn, fit = residuals.collect(table), frontier(table).surface
    assert fit is not None
    runs = drawn["runs"]
    assert sorted(runs["residual"]) == pytest.approx(sorted((-fit.residuals).tolist()), abs=1e-5)
    assert runs["compute"] == sorted(runs["compute"])
    for row in drawn["sizes"]:
        mine = [r for name, r in zip(runs["model"], runs["residual"], strict=True) if name == row["model"]]
        assert row["mean"] == pytest.approx(np.mean(mine), abs=1e-6)
        assert row["low"] < row["mean"] < row["high"]
    assert sum(row["runs"] for row in drawn["sizes"]) == len(runs["residual"]) == fit.n
    assert drawn["noise"]["value"] == pytest.approx(optimal_learning_rates(table).noise, rel=1e-5)
    alone = numbers.plain(residuals._mean(np.array([0.1])))
    assert alone == {"runs": 1, "mean": 0.1, "low": None, "high": None}


def test_a_run_above_the_surface_has_a_positive_residual() -> None:
    table = sweep(rates=(1.6,), noise=0.001, curve=0.0)
    frame = table.frame.copy()
    frame.loc[7, "val_loss"] *= 1.2
    runs = residuals.collect(type(table).from_frame(frame))["runs"]
    worst = int(np.argmax(np.abs(runs["residual"])))
    assert runs["residual"][worst] > 0.1
    assert runs["model"][worst] == frame.loc[7, "variant"]
    assert runs["val_loss"][worst] == pytest.approx(frame.loc[7, "val_loss"], rel=1e-5)


def test_roll_outs_are_those_of_the_back_test() -> None:
    table = sweep(rates=(1.6,), curve=0.0)
    drawn = roll_outs.collect(table)
    N, D, L, C = table.macs_per_image, table.images_seen, table.val_loss, table.core_hours
    assert [panel["factor"] for panel in drawn["panels"]] == [2.0, 4.0, 10.0, 20.0]
    for panel in drawn["panels"]:
        found = hold_out_largest(SizeData, panel["factor"], compute=C, N=N, D=D, L=L)
        runs = panel["runs"]
        assert panel["reach"] == pytest.approx(found.reach, rel=1e-5)
        assert max(runs["beyond"]) == pytest.approx(found.reach, rel=1e-5)
        assert sorted(runs["measured"]) == pytest.approx(sorted(found.data["L"]), rel=1e-5)
        assert np.mean(runs["inside"]) == pytest.approx(found.covered)
        assert np.mean(np.log(runs["ratio"])) == pytest.approx(-found.bias, abs=1e-4)
        assert np.array(runs["ratio"]) == pytest.approx(np.array(runs["measured"]) / runs["predicted"], rel=1e-4)
        for k, inside in enumerate(runs["inside"]):
            assert inside == (runs["ratio_low"][k] <= runs["ratio"][k] <= runs["ratio_high"][k])
    sizes = [panel["runs_fitted"] + len(panel["runs"]["ratio"]) for panel in drawn["panels"]]
    assert sizes == [len(table)] * 4


class TestBasins:
    @pytest.mark.parametrize("skew", [0.0, 1.2])
    def test_curves_are_lowest_at_the_fitted_optimum_near_the_true_rate(self, skew: float) -> None:
        table = sweep(rates=(0.2, 0.4, 0.8, 1.6, 3.2, 6.4), noise=1e-4, skew=skew, curve=0.1)
        drawn, result = learning_rate_basins.collect(table), optimal_learning_rates(table)
        assert drawn["curve"] == ("lopsided" if skew else "parabola")
        assert drawn["skew"] == pytest.approx(skew, abs=0.05)
        cells = result.cells.set_index(["variant", "epochs"])
        closed = 0
        for panel in drawn["panels"]:
            found, line = panel["optimum"], panel["line"]
            cell = cells.loc[(panel["model"], panel["epochs"])]
            assert found["rate"] == pytest.approx(cell["best_lr"], rel=1e-5)
            if found["bound"] != "inside":
                assert line is None
                continue
            size = table.frame.set_index("variant")["macs_per_image"][panel["model"]].iloc[0]
            assert found["rate"] == pytest.approx(best_rate(size, panel["epochs"]), rel=0.02)
            lowest = line["rate"][int(np.argmin(line["over_lowest"]))]
            assert abs(np.log(lowest / found["rate"])) < 0.1
            at_runs = np.interp(np.log(panel["rates"]), np.log(line["rate"]), line["over_lowest"], np.nan, np.nan)
            near = np.isfinite(at_runs)
            assert at_runs[near] == pytest.approx(np.array(panel["over_lowest"])[near], abs=4e-3)
            closed += found["low"] is not None and found["low"] < found["rate"] < found["high"]
        assert closed >= 20

    def test_an_optimum_at_the_edge_is_an_arrow_and_a_diverged_rate_a_cross(self) -> None:
        table = sweep(models=2, epochs=(1.0, 4.0), rates=(0.1, 0.2, 0.4), budgets=(), curve=0.3)
        frame = table.frame.copy()
        frame.loc[(frame["peak_lr"] == 0.4) & (frame["epochs"] == 4.0), "status"] = "diverged"
        drawn = learning_rate_basins.collect(type(table).from_frame(frame))
        axes = list(Figure().subplots(2, 2).ravel())
        learning_rate_basins.draw(axes, drawn)
        for ax, panel in zip(axes, drawn["panels"], strict=True):
            over = panel["epochs"] == 4.0
            assert panel["optimum"]["bound"] == ("inside" if over else "above")
            assert panel["diverged"] == ([0.4] if over else [])
            assert [arrow_of(line) for line in ax.lines if arrow_of(line)] == ([] if over else ["above"])
            crosses = [line for line in ax.lines if line.get_marker() == "x" and len(line.get_xdata())]
            assert [list(line.get_xdata()) for line in crosses] == ([[0.4]] if over else [])


class TestPrediction:
    def test_the_point_is_the_plans_and_the_front_ends_below_it(self) -> None:
        table = sweep(noise=0.002)
        drawn, found = prediction.collect(table), plan.predict(table, compute.Budget(times=prediction.TIMES))
        point, front = drawn["prediction"], drawn["front"]
        assert (point["model"], drawn["outcomes"]) == (found.variant, None)
        ends = [found.loss, found.loss_low, found.loss_high]
        assert [point["loss"], point["low"], point["high"]] == pytest.approx(ends, rel=1e-5)
        assert front["compute"][-1] == pytest.approx(point["compute"], rel=1e-5)
        assert front["largest"] == pytest.approx(table.core_hours.max(), rel=1e-5)
        assert front["loss"][-1] <= point["loss"] * (1 + 1e-6)  # a buildable size is no better than the best of all
        flop = np.array(front["compute"]) / compute.core_hours(1.0)
        best = np.array([optimal_size(value) for value in flop])
        truth = E + A * (best / SIZE_UNIT) ** -ALPHA + B * (flop / 6 / best / DATA_UNIT) ** -BETA
        assert front["loss"] == pytest.approx(truth.tolist(), rel=0.01)
        assert "Nothing was trained there yet" in drawn["caption"]

    def test_outcomes_are_shown_as_measured_and_play_no_part(self) -> None:
        table = sweep(budgets=(2e10, 1e11))
        later = outcomes_at(4 * float(table.train_flop.max()))
        drawn, alone = prediction.collect(table, later), prediction.collect(table)
        for name in ("loss", "low", "high", "compute", "times"):
            assert drawn["prediction"][name] == pytest.approx(alone["prediction"][name], rel=1e-4)
        assert drawn["runs"] == alone["runs"]
        found = drawn["outcomes"]
        assert found["val_loss"] == pytest.approx(later.val_loss.tolist(), rel=1e-5)
        assert found["at_budget"] == [True] * len(later)
        assert drawn["other_models"] == ["N6"]
        with pytest.raises(UserError, match="no finished run"):
            prediction.collect(table, later.where(np.zeros(len(later), bool)))
