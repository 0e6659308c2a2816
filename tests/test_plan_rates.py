"""The plan's own learning rate, and `scalelaw rates`."""

import json

import numpy as np
import pandas as pd
import pytest
from test_plan_recipe import SPEC, drawn

from scalelaw import compute
from scalelaw.cli import main
from scalelaw.plan import Candidate, predict, predict_for
from scalelaw.plan.design.recipe import recipes
from scalelaw.plan.design.result import Purchase
from scalelaw.plan.rates import planned_rate
from scalelaw.runs import RunTable
from scalelaw.simulate import RateBasin, Truth, balanced, draw, layout_of
from scalelaw.sweep import check_spec

WIDE = {**SPEC, "train": {**SPEC["train"], "peak_lr": {"around": 1.6, "factor": 2, "points": 7}}}
LAYOUT = layout_of(check_spec(WIDE, "wide.toml"))
MODEL = Candidate("N4", None, 4e5)


def table(rates, noise=0.0, seed=0):
    return draw(LAYOUT, Truth(balanced(LAYOUT), rates, noise=noise), seed)


def basin(**changes):
    settings = {"rate": 1.6, "size": LAYOUT.middle("macs_per_image"), "lopsided": 0.0, **changes}
    return RateBasin(**settings)


def test_a_power_law_is_followed_beyond_the_cells():
    rates = basin(by_size=-0.2, by_epochs=-0.3)
    found, _ = planned_rate(table(rates), MODEL, 8 * 4096, 8.0, 32.0)
    assert found.rate == pytest.approx(float(np.exp(rates.log_best(MODEL.macs_per_image, 8.0))), rel=0.01)
    assert found.trend == "power law"
    assert found.per_256 == pytest.approx(found.rate * 8)
    assert found.low <= found.rate <= found.high


def test_a_constant_is_the_simplest_that_fits():
    rates = basin(by_size=0.0, by_epochs=0.0, scatter=0.1)
    found, _ = planned_rate(table(rates, 0.01), MODEL, 8 * 4096, 8.0, 32.0)
    assert found.trend == "constant"
    assert found.rate == pytest.approx(1.6, rel=0.1)


def test_what_cannot_be_told_apart_is_said():
    """A power law and one that begins with a plateau of a few cells: scatter hides the difference."""
    rates = basin(by_size=-0.2, by_epochs=-0.3, scatter=0.15)
    found, caveats = planned_rate(table(rates, 0.01), MODEL, 8 * 4096, 8.0, 32.0)
    assert set(found.candidates) == {"power law", "constant then falling"}
    assert found.trend == "power law"  # the simpler one
    assert found.told is False
    assert any(caveat.name == "trends not told apart" for caveat in caveats)


def test_the_interval_reaches_every_candidate_and_covers_new_optima():
    """Also in the middle of the cells, where the trend itself is known far better than one cell's optimum."""
    held = []
    middle = Candidate("middle", None, LAYOUT.middle("macs_per_image"))
    for seed in range(7):
        rates = basin(by_size=-0.2, by_epochs=-0.3, scatter=0.3)
        runs = table(rates, 0.01, seed)
        for model, epochs in ((MODEL, 8.0), (middle, 1.0)):
            found, _ = planned_rate(runs, model, epochs * 4096, epochs, 32.0)
            assert all(found.low <= rate <= found.high for rate in found.candidates.values())
            at = rates.log_best(model.macs_per_image, epochs)
            at = at + 0.3 * np.random.default_rng((seed, int(epochs))).standard_normal()
            held.append(found.low <= np.exp(at) <= found.high)
    assert np.mean(held) >= 0.85


def test_batches_of_several_sizes_are_compared_per_256():
    one = table(basin(by_size=-0.2, by_epochs=-0.3)).frame
    two = one.assign(batch_size=64, peak_lr=2 * one["peak_lr"])
    both = RunTable.from_frame(pd.concat([one, two], ignore_index=True))
    alone, _ = planned_rate(RunTable.from_frame(one), MODEL, 8 * 4096, 8.0, 32.0)
    for batch, factor in ((32.0, 1.0), (64.0, 2.0)):
        found, caveats = planned_rate(both, MODEL, 8 * 4096, 8.0, batch)
        assert found.rate == pytest.approx(factor * alone.rate, rel=0.01)
        assert any(caveat.name == "mixed batches" for caveat in caveats)


def test_runs_to_buy_have_the_rate_of_their_own_batch():
    """That of most runs; the same rate that the same runs give without those of another batch."""
    one = table(basin(by_size=-0.2, by_epochs=-0.3)).frame
    two = one.assign(batch_size=64, peak_lr=2 * one["peak_lr"]).drop(index=0)
    wanted = Purchase("N4", None, 4e5, 8 * 4096, 8.0, 1, 6 * 4e5 * 8 * 4096, None, replicates=False)
    ((alone,), _), ((beside,), _) = (
        recipes(RunTable.from_frame(frame), [wanted]) for frame in (one, pd.concat([one, two], ignore_index=True))
    )
    truth = float(np.exp(basin(by_size=-0.2, by_epochs=-0.3).log_best(4e5, 8.0)))
    assert alone.peak_lr == pytest.approx(truth, rel=0.01)
    assert beside.peak_lr == pytest.approx(alone.peak_lr, rel=0.01)


def test_cells_without_a_trend_lend_the_nearest_ones_rate():
    frame = table(basin()).frame
    few = frame[frame["variant"].isin(["N0"]) & (frame["epochs"] == 1) & (frame["peak_lr"] < 1)]
    found, caveats = planned_rate(RunTable.from_frame(few), MODEL, 8 * 4096, 8.0, 32.0)
    assert found.trend == "nearest cell"
    assert found.low is None
    assert found.rate == few["peak_lr"].max()
    assert {caveat.name for caveat in caveats} >= {"nearest cell's rate", "optima at the edge"}
    none, (caveat,) = planned_rate(RunTable.from_frame(few.drop(columns="peak_lr")), MODEL, 1e4, 1.0, 32.0)
    assert none is None
    assert caveat.name == "no learning rate"


def test_a_monotone_rate_does_not_rise_with_epochs():
    runs = table(basin(by_size=-0.2, by_epochs=0.3), 0.01)
    free = [planned_rate(runs, MODEL, n * 4096, n, 32.0)[0].rate for n in (1.0, 8.0)]
    held = [planned_rate(runs, MODEL, n * 4096, n, 32.0, monotone=True)[0].rate for n in (1.0, 8.0)]
    assert free[1] > 1.5 * free[0]
    assert held[1] == pytest.approx(held[0])


def test_the_plan_carries_it():
    plan = predict(drawn(), compute.Budget(times=4))
    said = plan.to_dict()
    assert said["peak_lr"] == said["rate"]["rate"] == plan.peak_lr
    assert said["batch_size"] == 32
    assert f"{plan.rate.low:.3g}" in str(plan)


@pytest.fixture
def recorded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    drawn().write("runs.parquet")
    return "runs.parquet"


def said(capsys, *argv):
    with pytest.raises(SystemExit) as end:
        main(list(argv))
    assert end.value.code == 0
    return capsys.readouterr().out


def test_the_command_prints_cells_trend_candidates_and_edges(recorded, capsys):
    text = said(capsys, "rates", recorded)
    for word in ("best lr", "edge: optimum", "ln macs_per_image", "ln epochs", "95 % interval", "per 256 images",
                 "constant then falling", "as measured", "as upper bounds", "left out"):  # fmt: skip
        assert word in text


def test_the_command_as_json(recorded, capsys):
    answer = json.loads(said(capsys, "rates", recorded, "--json"))
    assert list(answer) == [
        "cells", "inside_share", "noise", "noise_basis", "shape", "trend", "trend_per_256", "notes", "candidates",
        "edges",
    ]  # fmt: skip
    assert len(answer["cells"]) == 20
    fits = answer["edges"]["fits"]
    edges = sum(cell["bound"] != "inside" for cell in answer["cells"])
    assert fits["edges"] == edges > 0
    assert fits["left_out"]["n"] == 20 - edges
    assert fits["as_bounds"]["n"] == 20 - edges + fits["counted"]


def test_predict_holds_its_rate_as_rates_does(tmp_path, capsys):
    runs = table(basin(by_size=-0.2, by_epochs=0.3), 0.01)
    runs.write(tmp_path / "rising.parquet")
    held, free = (
        json.loads(said(capsys, "predict", str(tmp_path / "rising.parquet"), "--times", "4", "--json", *more))
        for more in (["--monotone"], [])
    )
    assert held["peak_lr"] < free["peak_lr"]
    assert {name: held[name] for name in ("variant", "loss")} == {name: free[name] for name in ("variant", "loss")}
    _, there = predict_for(runs, held["loss"], monotone=True)
    assert there.peak_lr == pytest.approx(held["peak_lr"], rel=0.02)


def test_a_monotone_trend_never_rises(recorded, capsys):
    answer = json.loads(said(capsys, "rates", recorded, "--monotone", "--curve", "grid", "--json"))
    assert answer["trend"]["monotone"]
    assert answer["trend"]["params"]["b"] <= 0
    assert answer["trend"]["params"]["c"] <= 0
    assert all(cell["kind"] != "curve" for cell in answer["cells"])
