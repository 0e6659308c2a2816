"""No design passes the certified bound, found designs come near it, and one case worked by hand."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "analysis"))
import c_optimal
import designs
import next_runs
import next_runs_bound as bound
import next_runs_model
import next_runs_oracle as oracle
import next_runs_reached

SPEND = 1 / 16


@pytest.fixture(scope="module")
def model():
    return next_runs_model.Model(designs.World(0.5, 0.01))


@pytest.mark.parametrize(("at", "expected"), [(2.0, 4.0), (0.5, 1.0), (-3.0, 9.0)])
def test_a_line_extrapolated_from_its_ends(at, expected):
    """y = a + b u on [-1, 1], one run in all: least variance is u^2 beyond, of shares (1 +- 1/u) / 2, inside 1."""
    rows = np.stack([np.ones(41), np.linspace(-1, 1, 41)], axis=1)
    value, least, shares = c_optimal.fractional(np.array([1.0, at]), 1e-12 * np.eye(2), rows)
    assert least <= expected * (1 + 1e-6)
    assert value >= expected * (1 - 1e-6)
    assert value - least <= c_optimal.CLOSE * value
    if abs(at) > 1:
        assert shares[[0, -1]] == pytest.approx([(1 - 1 / at) / 2, (1 + 1 / at) / 2], abs=0.01)


def test_a_run_of_four_times_the_price_counts_a_quarter():
    rows, c = np.eye(2), np.array([1.0, 1.0])
    # w = (1, 1/4 of what is left): minimise 1/u + 4/(1 - u) over u, which is (1 + 2)^2
    assert c_optimal.least(c, 1e-12 * np.eye(2), rows, np.array([1.0, 4.0]), 1.0) == pytest.approx(9, rel=2e-3)
    # two runs at most: 1/w + 1/(2 - w) is 2 at the lowest, whatever the spend
    few = c_optimal.least(c, 1e-12 * np.eye(2), rows, np.array([1.0, 4.0]), 1e6, most=2)
    assert few == pytest.approx(2, rel=2e-3)


@pytest.mark.parametrize("variances", [(1.0, 1.0), (0.1, 0.3)])
def test_no_design_of_whole_runs_passes_the_bound(model, variances):
    cells = next_runs.grid_of(SPEND)
    rows, cost, known = model.rows(cells), np.exp(cells.sum(axis=0) - designs.TARGET), model.known(np.array(variances))
    of_any, of_few = (model.bound(np.array(variances), SPEND, most) for most in (None, next_runs.MOST))
    assert of_any <= of_few

    def variance(counts):
        return float(model.c @ np.linalg.solve(known + (rows * counts[:, None]).T @ rows, model.c))

    found = c_optimal.whole(model.c, known, rows, cost, SPEND, next_runs.MOST)
    assert found.sum() <= next_runs.MOST
    assert found @ cost <= SPEND * (1 + 1e-9)
    assert of_few <= variance(found) <= 1.3 * of_few
    rng = np.random.default_rng(0)
    for _ in range(200):
        counts, order = np.zeros(len(cost)), rng.permutation(len(cost))
        for cell in order[:12]:
            able = min(next_runs.MOST - counts.sum(), (SPEND - counts @ cost) // cost[cell])
            counts[cell] = rng.integers(0, able + 1)
        assert variance(counts) >= variance(found) * (1 - 1e-9) >= of_few
    value, least, _ = c_optimal.fractional(model.c, known, rows / np.sqrt(cost / SPEND)[:, None])
    assert least <= value <= (1 + 2e-3) * least


def test_errors_are_those_of_the_oracle(model):
    """The additive fit in the additive world; and the best estimate has the variance that its precision says."""
    truth, kind = oracle.Truth.of(model.world), 0
    noise, bias = model.curves("one run", None)
    at = int(np.searchsorted(next_runs_model.LADDER, SPEND))
    own = float(np.sqrt(model.in_worlds(noise, bias)[at, kind]))
    assert own == pytest.approx(oracle.laid(truth, "one run", SPEND), rel=0.02)
    known = model.known(np.ones(2))
    rows, counts = model.laid["one run"][at]
    noise, bias = model.error(rows, counts, known)
    exact = model.c @ np.linalg.solve(known + (rows * counts[:, None]).T @ rows, model.c)
    assert noise + bias**2 @ model.prior(np.ones(2)) == pytest.approx(exact)


def test_nothing_found_saves_more_in_all_three_worlds_than_the_bound(model, monkeypatch):
    monkeypatch.setattr(next_runs, "SPENDS", (1 / 64,))
    monkeypatch.setattr(bound, "VARIANCES", (0.1, 1.0))
    monkeypatch.setattr(bound, "WEIGHTS", np.array([[0.1, 0.2, 0.7], [0.0, 0.0, 1.0]]))  # each gives a bound
    kept = bound._kept(model.in_worlds(*model.curves("one run", None)))
    found = bound.reached(model, ["one run"])[0]
    assert np.log(1.3) < found.min() <= bound.at_once(model, next_runs.MOST, [kept])[0, 0] < np.log(2.5)


@pytest.mark.parametrize("kind", ["additive", "interaction", "broken"])
def test_the_simulated_estimate_finds_the_truth_without_noise(model, kind):
    world = designs.World(0.5, 0.01, kind)
    cells = next_runs.grid_of(SPEND)
    x = np.concatenate([designs.PILOT, cells], axis=1)
    prior = model.prior(np.ones(2))
    found = next_runs_reached.estimated(model, x, world.log_loss(x)[None], np.full(x.shape[1], 1e6), prior)
    assert found == pytest.approx(world.answers()["loss"], abs=1e-4)
    # without runs the prior's own answer: that of the additive truth
    none = next_runs_reached.estimated(model, x, world.log_loss(x)[None], np.full(x.shape[1], 1e-12), prior)
    assert none == pytest.approx(designs.World(0.5, 0.01).answers()["loss"], abs=1e-4)


def test_the_written_table_is_that_of_the_record():
    here = Path(bound.__file__).parent
    records = json.loads((here / "next_runs_bound.json").read_text(encoding="utf-8"))["worlds"]
    assert (here / "next_runs.md").read_text(encoding="utf-8").endswith(f"\n\n{bound.table(records)}")
    assert [record["world"] for record in records[:-1]] == [str(world) for world in bound.SETTINGS]
    assert {(world.exponent, world.noise) for world in designs.WORLDS} <= {
        (world.exponent, world.noise) for world in bound.SETTINGS
    }


def test_the_written_ratios_are_those_of_the_record():
    here = Path(bound.__file__).parent
    records = json.loads((here / "next_runs_reached.json").read_text(encoding="utf-8"))["worlds"]
    assert (here / "next_runs_reached.md").read_text(encoding="utf-8") == next_runs_reached.table(records)
    assert [record["world"] for record in records] == [str(world) for world in designs.WORLDS]
