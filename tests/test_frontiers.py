"""Exponents of optimal size and epochs: known ones recovered, artefacts of the grid refused."""

import json
import re

import numpy as np
import pandas as pd
import pytest

from scalelaw import architecture, compute
from scalelaw.errors import UserError
from scalelaw.frontiers import frontier
from scalelaw.frontiers.equal_compute import groups, minimum
from scalelaw.frontiers.trend import through
from scalelaw.laws import SizeData
from scalelaw.runs import RunTable

IMAGES = 32_768
VARIANTS = [f"N{k}" for k in range(6)]
SIZES = {name: architecture.size(architecture.variant(name), 8, 100) for name in VARIANTS}
EPOCHS = (0.25, 0.5, 1, 2, 4)


def truth(exponent, total=0.75):
    """A surface whose optimal size grows as compute^exponent and is balanced in the middle of the demo's layout."""
    alpha, beta = total * (1 - exponent), total * exponent
    middle = np.exp(np.mean([np.log(size.macs_per_image) for size in SIZES.values()]))
    A, B = (2.4 * share / total * at**power for share, at, power in ((beta, middle, alpha), (alpha, IMAGES, beta)))
    return SizeData(E=0.8, A=A, B=B, alpha=alpha, beta=beta)


def demo(exponent, seed=0, noise=0.004, budgets=6, grid=True):
    """The demo's layout: sizes x epochs, and equal-compute budgets x sizes."""
    rng, surface = np.random.default_rng(seed), truth(exponent)
    macs = {name: float(size.macs_per_image) for name, size in SIZES.items()}
    cells = [(name, round(e * IMAGES)) for name in VARIANTS for e in EPOCHS] if grid else []
    spent = np.geomspace(macs["N0"], macs["N5"], budgets) * 6 * IMAGES if budgets else []
    cells += [
        (name, round(c / 6 / macs[name])) for c in spent for name in VARIANTS if 0.06 < c / 6 / macs[name] / IMAGES < 9
    ]
    rows = []
    for name, images in dict.fromkeys(cells):
        flop = compute.train_flop(macs[name], images)
        loss = float(surface.predict(N=macs[name], D=images)) * np.exp(noise * rng.standard_normal())
        rows.append(
            {
                "family": "nfnet", "variant": name, "status": "finished", "params": SIZES[name].params,
                "params_body": SIZES[name].params_body, "macs_per_image": macs[name], "resolution": 8,
                "unique_images": IMAGES, "epochs": images / IMAGES, "images_seen": images, "batch_size": 64,
                "peak_lr": 1.0, "seed": 0, "train_flop": flop, "core_hours": compute.core_hours(flop),
                "utilisation": compute.DEFAULT_UTILISATION, "val_loss": loss,
            }
        )  # fmt: skip
    return RunTable.from_frame(pd.DataFrame(rows))


@pytest.mark.parametrize("exponent", [0.3, 0.5, 0.7])
def test_known_exponents_are_recovered_on_the_demo_layout(exponent):
    """Within .05 or refused, for size and for epochs, headline and both honest approaches."""
    answered = 0
    for seed in range(5):
        found = frontier(demo(exponent, seed, noise=0.003 + 0.0005 * seed))
        trends = [found.size, found.approaches["surface"]["size"], found.approaches["equal_compute"]["size"]]
        epochs = [found.epochs, found.approaches["surface"]["epochs"], found.approaches["equal_compute"]["epochs"]]
        for size, length in zip(trends, epochs, strict=True):
            assert size.slope + length.slope == pytest.approx(1, abs=1e-9)
            if size.status == "converged":
                answered += 1
                assert abs(size.params["alpha"] - exponent) < 0.05
                assert abs(length.params["alpha"] - (1 - exponent)) < 0.05
    assert answered >= 10


@pytest.mark.parametrize("exponent", [0.3, 0.7])
def test_the_envelope_of_a_rectangle_is_refused(exponent):
    """Its exponent is drawn to one half by the grid's corners; the surface's is not."""
    found = frontier(demo(exponent, budgets=0))
    envelope = found.approaches["envelope"]["size"]
    assert envelope.status == "set_by_grid"
    assert envelope.interval["alpha"] == (None, None)
    assert abs(envelope.params["alpha"] - 0.5) < abs(exponent - 0.5)
    assert found.headline == "surface"
    assert abs(found.size.params["alpha"] - exponent) < 0.05


def test_surface_intervals_cover():
    hits = []
    for seed in range(24):
        low, high = frontier(demo(0.5, seed)).approaches["surface"]["size"].interval["alpha"]
        hits.append(low <= 0.5 <= high)
    assert np.mean(hits) >= 0.83


def test_exact_minimum_is_found_where_a_parabola_is_biased():
    """On noise-free losses of one budget, off-centre sizes: the exact shape has no bias, the parabola has."""
    surface, flop = truth(0.3), 2e12
    optimum = float(np.log(surface.optimum(flop, k=6)[0]))
    size = optimum + np.log([0.25, 0.5, 1.3, 3, 9])
    loss = surface.predict(N=np.exp(size), D=flop / 6 / np.exp(size))
    rows = np.arange(5)
    found = minimum(np.full(5, np.log(flop)), size, loss, rows, (surface.alpha, surface.beta))
    assert found.bracketed
    assert found.log_size == pytest.approx(optimum, abs=1e-6)
    bend, slope, _ = np.polyfit(size - optimum, loss, 2)
    assert abs(-slope / (2 * bend)) > 0.02


def test_a_minimum_at_the_edge_is_no_minimum():
    size = np.log([1.0, 2.0, 4.0])
    found = minimum(np.zeros(3), size, np.array([3.0, 2.5, 2.4]), np.arange(3), (0.3, 0.3))
    assert not found.bracketed
    assert found.log_size == size[2]


def test_groups_are_runs_of_equal_compute_at_three_sizes():
    compute_logs = np.log([1, 1.005, 1.01, 2, 2, 5, 5, 5])
    sizes = np.log([1, 2, 4, 1, 2, 1, 1, 2])
    assert [sorted(rows.tolist()) for rows in groups(compute_logs, sizes)] == [[0, 1, 2]]


def test_unbracketed_budgets_are_left_out_and_named():
    table = demo(0.5, noise=0.0)
    small = table.where(table.macs_per_image < SIZES["N3"].macs_per_image * 1.01)
    found = frontier(small)
    points = found.points[found.points["approach"] == "equal_compute"]
    assert not points["bracketed"].all()
    assert any("left out" in note for note in found.notes)


def test_trend_line_equals_weighted_regression():
    from scipy.stats import linregress

    rng = np.random.default_rng(0)
    x = np.linspace(-3, 3, 9)
    y = 1 + 0.5 * x + 0.1 * rng.standard_normal(9)
    found, line = through("size", "C", x, y), linregress(x, y)
    assert found.slope == pytest.approx(line.slope)
    assert found.stderr["alpha"] == pytest.approx(line.stderr)
    assert found.stderr["A"] == pytest.approx(np.exp(line.intercept) * line.intercept_stderr)
    band = found.predict(np.exp([0.0, 5.0]))
    assert band.high[1] / band.mid[1] > band.high[0] / band.mid[0]
    wide = through("size", "C", x, y + rng.standard_normal(9) * 2)
    assert wide.status == "not_identified"
    assert through("size", "C", x[:1], y[:1]).status == "failed"


def test_compute_in_other_units_moves_only_the_amplitude():
    table = demo(0.5)
    hours, flop = frontier(table), frontier(table, basis="train_flop")
    assert flop.size.compute == "train_flop"
    assert flop.size.slope == pytest.approx(hours.size.slope, rel=1e-9)
    ratio = float(table.train_flop[0] / table.core_hours[0])
    assert flop.size.predict(1e12).mid == pytest.approx(hours.size.predict(1e12 / ratio).mid, rel=1e-8)


def test_loss_is_the_power_law_of_the_envelope():
    table = demo(0.5)
    found = frontier(table)
    envelope = table.best_over("peak_lr").envelope()
    slope = np.polyfit(np.log(envelope.core_hours), np.log(envelope.val_loss), 1)[0]
    assert found.loss.params["alpha"] == pytest.approx(-slope, rel=1e-9)
    assert found.loss.params["alpha"] > 0
    assert found.curvature.n == len(envelope)
    middle = np.exp(np.mean(np.log(envelope.core_hours)))
    assert found.loss.predict(middle).mid == pytest.approx(float(found.envelope.predict(C=middle).mid))
    assert found.loss.predict(middle).high == pytest.approx(float(found.envelope.predict(C=middle).high))


def test_the_envelope_is_of_the_basis_that_is_asked_for():
    """Core-hours that were measured at another utilisation in some runs change nothing of trends in FLOP."""
    table = demo(0.5)
    dearer = np.where(table.variant == "N2", 4.0, 1.0)
    mixed = table.frame.assign(
        core_hours=table.core_hours * dearer, core_hours_basis=np.where(dearer > 1, "measured", "estimated")
    )
    found = frontier(RunTable.from_frame(mixed), basis="train_flop")
    expected = frontier(RunTable.from_frame(table.frame.drop(columns="core_hours")), basis="train_flop")
    assert found.loss.params == expected.loss.params
    assert (found.curvature.value, found.curvature.n) == (expected.curvature.value, expected.curvature.n)
    assert found.approaches["envelope"]["size"].slope == expected.approaches["envelope"]["size"].slope
    assert found.points.equals(expected.points)


def test_params_trend_follows_the_variants():
    found = frontier(demo(0.5))
    assert found.params_trend.quantity == "params"
    # between the nano variants, parameters grow a little more slowly than multiply-adds
    assert 0.5 < found.params_trend.slope / found.size.slope < 1
    at = found.size.predict(1e-6).mid
    known = [(size.macs_per_image, size.params) for size in SIZES.values()]
    between = np.exp(np.interp(np.log(at), *np.log(np.array(known, float)).T))
    assert found.params_trend.predict(1e-6).mid == pytest.approx(between, rel=0.15)


def test_to_dict_is_json_and_repeats_to_the_bit():
    first, second = (json.dumps(frontier(demo(0.5)).to_dict(), allow_nan=False) for _ in range(2))
    assert first == second
    answer = json.loads(first)
    for key in ("size", "epochs", "loss"):
        assert {"params", "stderr", "interval", "status"} <= set(answer[key])
    assert set(answer["approaches"]) == {"surface", "equal_compute", "parabola", "envelope"}
    assert {"data", "comparisons", "parabola_bias"} <= set(answer)
    assert {"approach", "core_hours", "macs_per_image", "epochs", "val_loss", "bracketed"} <= set(answer["points"][0])
    assert "headline" in str(frontier(demo(0.5)))


def test_every_printed_exponent_lies_in_its_printed_interval():
    """The loss falls: its exponent and both ends are written with their sign."""
    found = re.findall(r"C\^(\S+) +(-?[\d.]+) to (-?[\d.]+)", str(frontier(demo(0.5))))
    assert len(found) >= 5
    assert all(float(low) <= float(power) <= float(high) for power, low, high in found), found


def test_parameters_and_tokens_serve_where_multiply_adds_are_unknown():
    """A foreign table with C, N, D and loss: C = 6 N D gives the same exponents in parameters."""
    frame = demo(0.5).frame
    foreign = pd.DataFrame(
        {"C": frame.train_flop, "N": frame.macs_per_image, "D": frame.images_seen, "loss": frame.val_loss}
    )
    found = frontier(RunTable.from_frame(foreign))
    assert found.size.quantity == "params"
    assert found.size.compute == "train_flop"
    assert abs(found.size.slope - 0.5) < 0.05


def test_bad_tables_are_refused():
    table = demo(0.5)
    with pytest.raises(UserError, match="at least three"):
        frontier(table.where(np.arange(len(table)) < 2))
    with pytest.raises(UserError, match="off the envelope"):
        frontier(table.envelope())
    with pytest.raises(UserError, match="unknown basis"):
        frontier(table, basis="hours")
    with pytest.raises(UserError, match="train_flop"):
        frontier(RunTable.from_frame(pd.DataFrame({"N": [1, 2, 3], "D": [1, 2, 3], "loss": [3, 2, 1]})))


def test_sizes_too_few_for_a_surface_leave_a_note():
    one = demo(0.5).where(demo(0.5).variant == "N2")
    found = frontier(one)
    assert found.surface is None
    assert found.size.status == "failed"
    assert any("no surface" in note for note in found.notes)
    json.dumps(found.to_dict(), allow_nan=False)


def test_a_run_of_unknown_flop_has_those_that_follow_from_its_size_and_images():
    runs = demo(0.5, grid=False)
    partly = runs.frame.copy()
    partly.loc[[3, 10], "train_flop"] = np.nan
    found, whole = frontier(RunTable.from_frame(partly)), frontier(runs)
    assert found.size.slope == pytest.approx(whole.size.slope, rel=1e-9)


def test_unknown_flop_that_nothing_gives_are_refused_by_their_row():
    partly = demo(0.5, grid=False).frame.drop(columns=["macs_per_image", "variant"])
    partly.loc[3, "train_flop"] = np.nan
    with pytest.raises(UserError, match="train_flop must be positive and finite, see row 4"):
        frontier(RunTable.from_frame(partly))


def test_a_run_of_unknown_epochs_leaves_the_training_set_known():
    partly = demo(0.5, grid=False).frame.drop(columns=["unique_images"], errors="ignore")
    partly.loc[3, "epochs"] = np.nan
    found = frontier(RunTable.from_frame(partly))
    assert found.unique_images == pytest.approx(IMAGES, rel=1e-3)
    assert "one pass" in str(found)
