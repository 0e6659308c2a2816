"""The largest runs held out."""

import json

import numpy as np
import pytest
from backtest_runs import TRUE, X, runs_of, surface_runs

from scalelaw import laws
from scalelaw.backtest import hold_out_largest
from scalelaw.errors import UserError
from scalelaw.fitting import fit


def test_hold_out_is_a_fit_to_the_cheaper_runs():
    """By hand: cut, fit, compare."""
    runs = runs_of(TRUE, noise=0.004)
    held = hold_out_largest(laws.OffsetPowerLaw, 10, **runs)
    dear = runs["C"] > runs["C"].max() / 10
    rest = fit(laws.OffsetPowerLaw, C=runs["C"][~dear], L=runs["L"][~dear])
    band = rest.predict(C=runs["C"][dear], new_run=True)
    error = np.log(band.mid / runs["L"][dear])
    assert held.n == dear.sum()
    assert held.fit.n == (~dear).sum()
    assert held.rms == pytest.approx(np.sqrt(np.mean(error**2)), rel=1e-9)
    assert held.bias == pytest.approx(error.mean(), rel=1e-9)
    assert held.covered == np.mean((band.low <= runs["L"][dear]) & (runs["L"][dear] <= band.high))
    assert held.reach == pytest.approx(runs["C"].max() / runs["C"][~dear].max())
    assert json.loads(json.dumps(held.to_dict()))["n_held_out"] == held.n
    assert f"{held.rms:.4f} rms" in str(held)


def test_exact_runs_leave_no_error_and_a_wrong_form_shows_its_sign():
    assert hold_out_largest(laws.OffsetPowerLaw, **runs_of(TRUE)).rms < 1e-7
    wrong = hold_out_largest(laws.PowerLaw, **runs_of(TRUE))
    assert wrong.bias < -0.01  # a power law promises more than a law with a floor holds
    assert wrong.rms == pytest.approx(-wrong.bias, rel=0.5)


def test_size_and_data_laws_are_ranked_by_their_product():
    runs = surface_runs(0.003)
    by_product = hold_out_largest(laws.SizeData, **runs)
    assert by_product.cost == "N D"
    by_compute = hold_out_largest(laws.SizeData, compute=6 * runs["N"] * runs["D"], **runs)
    by_letter = hold_out_largest(laws.SizeData, C=6 * runs["N"] * runs["D"], **runs)
    assert by_compute.rms == by_letter.rms == by_product.rms
    assert by_product.n == (runs["N"] * runs["D"] > (runs["N"] * runs["D"]).max() / 10).sum()
    by_size = hold_out_largest(laws.SizeData, compute=runs["N"], **runs)
    assert by_size.n == (runs["N"] > runs["N"].max() / 10).sum() != by_product.n


def test_rows_of_one_label_count_once():
    runs = runs_of(TRUE, noise=0.004)
    copied = {name: np.append(values, np.full(9, values[np.argmax(runs["C"])])) for name, values in runs.items()}
    label = np.append(np.arange(60), np.full(9, np.argmax(runs["C"])))
    plain, labelled = (hold_out_largest(laws.OffsetPowerLaw, **one, **more)
                       for one, more in ((runs, {}), (copied, {"labels": label})))  # fmt: skip
    assert labelled.n == plain.n
    assert labelled.rms == pytest.approx(plain.rms, rel=1e-9)
    assert hold_out_largest(laws.OffsetPowerLaw, **copied).rms != pytest.approx(plain.rms, rel=1e-3)


def test_options_reach_the_fit():
    runs = runs_of(TRUE, noise=0.004)
    pinned = hold_out_largest(laws.OffsetPowerLaw, fix={"E": 1.7}, **runs)
    assert pinned.fit.params["E"] == 1.7
    weights = np.where(runs["C"] < 1e19, 0.0, 1.0)
    weighted = hold_out_largest(laws.PowerLaw, weights=weights, **runs)
    assert abs(weighted.bias) < abs(hold_out_largest(laws.PowerLaw, **runs).bias)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"factor": 1.0}, "factor"),
        ({"factor": np.nan}, "factor"),
        ({"factor": 1e9}, "too few to fit"),
        ({"level": 0}, "level"),
        ({"level": "0.9"}, "hold_out_largest: level = '0.9'"),
        ({"fix": 0.5}, "fix: is of type float"),
        ({"fix": "E"}, "fix: is of type str"),
        ({"bounds": [1]}, "bounds: is of type list"),
        ({"compute": np.ones(3)}, "compute has 3 values for 60 runs"),
        ({"compute": -np.ones(60)}, "positive"),
        ({"labels": np.ones(3)}, "labels"),
    ],
)
def test_hold_out_refuses(kwargs, message):
    with pytest.raises(UserError, match=message):
        hold_out_largest(laws.OffsetPowerLaw, **(runs_of(TRUE, noise=0.01) | kwargs))


def test_an_unknown_order_of_runs_is_refused():
    law = laws.sum_of_powers("L = E + A N^-a U^-b")
    with pytest.raises(UserError, match="pass compute="):
        hold_out_largest(law, N=X, U=X, L=X)
