"""Laws told apart or not by their error on the largest runs, and stacked."""

import json
from dataclasses import replace

import numpy as np
import pytest
from backtest_runs import SURFACE, TRUE, ends, runs_of, surface_runs
from scipy.stats import t as student

from scalelaw import laws
from scalelaw.backtest import choose, hold_out_largest
from scalelaw.backtest.choice import told_apart
from scalelaw.errors import UserError


def test_the_true_law_is_picked_when_it_can_be_told():
    choice = choose(["power", "offset"], **runs_of(TRUE, noise=0.003))
    assert [one.verdict for one in choice.candidates] == ["best", "worse"]
    assert choice.best.law is laws.OffsetPowerLaw
    assert choice.told
    assert [one.weight for one in choice.candidates] == [1, 0]
    assert "told apart" in str(choice)


def test_laws_that_agree_are_nottold_apart_and_the_simpler_comes_first():
    """Runs on a power law: an offset of 0 and the shifted law without its shift say the same."""
    choice = choose(["offset", "shifted", "power"], **runs_of(laws.PowerLaw(A=1e3, alpha=0.12)))
    assert choice.best.law is laws.PowerLaw
    assert [one.verdict for one in choice.candidates] == ["best", "as good", "as good"]
    assert "cannot tell" in str(choice)
    noisy_choice = choose(["offset", "power"], **runs_of(laws.PowerLaw(A=1e3, alpha=0.12), noise=0.02, seed=3))
    assert not noisy_choice.told


def test_one_run_that_is_far_off_tells_no_laws_apart():
    """The larger error must show run by run, not in a single one."""
    held = hold_out_largest(laws.PowerLaw, **runs_of(TRUE, noise=0.003))
    small = np.where(np.arange(held.n) % 2, 0.01, -0.01)
    one, every = small.copy(), small * 1.5
    one[0] = 0.3
    best, off_once, off_always = (replace(held, errors=errors) for errors in (small, one, every))
    assert off_once.rms > off_always.rms
    assert not told_apart((best,), (off_once,))
    assert told_apart((best,), (off_always,))
    assert not told_apart((best, off_always), (off_always, best))  # in every origin


def test_true_laws_are_seldom_called_worse():
    """Both laws hold for these runs (a power law is an offset law with E = 0): `worse` is a false alarm."""
    alarms = [
        choose(["offset", "power"], **runs_of(laws.PowerLaw(A=1e3, alpha=0.12), n=40, noise=0.01, seed=seed)).told
        for seed in range(30)
    ]
    assert np.mean(alarms) <= 0.2


def test_origins_lie_a_root_of_the_factor_apart():
    runs = runs_of(TRUE, n=200, noise=0.003)
    choice = choose(["offset"], 10, origins=3, **runs)
    tops = [held.top for held in choice.candidates[0].hold_outs]
    assert tops[0] == runs["C"].max()
    for step, top in enumerate(tops):
        limit = runs["C"].max() / 10 ** (step / 2)
        assert top == runs["C"][runs["C"] <= limit * (1 + 1e-9)].max()
    second = choice.candidates[0].hold_outs[1]
    by_hand = hold_out_largest(laws.OffsetPowerLaw, 10 * second.top / (tops[0] / np.sqrt(10)),
                               **{k: v[runs["C"] <= second.top] for k, v in runs.items()})  # fmt: skip
    assert second.rms == pytest.approx(by_hand.rms, rel=1e-9)
    total = choice.candidates[0]
    assert total.rms == pytest.approx(np.sqrt(np.mean([held.rms**2 for held in total.hold_outs])))


def test_the_stack_lies_between_its_laws_and_covers():
    runs = surface_runs(0.01)
    choice = choose(["size-data", "kaplan"], **runs)
    ahead = {"N": np.array([1e7, 3e7]), "D": np.array([1e6, 3e6])}
    band = choice.predict(**ahead)
    singles = np.array([one.fit.predict(**ahead).mid for one in choice.candidates if one.weight > 0])
    assert (band.mid >= singles.min(0) * (1 - 1e-12)).all()
    assert (band.mid <= singles.max(0) * (1 + 1e-12)).all()
    assert sum(one.weight for one in choice.candidates) == pytest.approx(1)
    low, high = ends(choice.predict(new_run=True, **ahead))
    assert (low < SURFACE.predict(**ahead)).all()
    assert (SURFACE.predict(**ahead) < high).all()
    assert (high / low > ends(band)[1] / ends(band)[0]).all()
    assert json.loads(json.dumps(choice.to_dict()))["candidates"][0]["verdict"] == "best"
    with pytest.raises(UserError, match="D missing"):
        choice.predict(N=1e7)


def test_a_stack_is_as_wide_as_its_laws_differ():
    runs = runs_of(TRUE, n=24, noise=0.03, seed=2)
    choice = choose(["power", "offset"], **runs)
    assert not choice.told
    weight = [one.weight for one in choice.candidates]
    rms = [one.rms for one in choice.candidates]
    assert weight[0] / weight[1] == pytest.approx(rms[1] ** 2 / rms[0] ** 2)
    bands = [one.fit.predict(C=1e25) for one in choice.candidates]
    stack = choice.predict(C=1e25)
    mid = np.average([np.log(band.mid) for band in bands], weights=weight)
    assert np.log(stack.mid) == pytest.approx(mid)
    between = np.average([(np.log(band.mid) - mid) ** 2 for band in bands], weights=weight)
    own = np.average([np.log(band.high / band.low) ** 2 / 4 for band in bands], weights=weight)
    quantile = student.ppf(0.975, len(runs["L"]) - len(choice.best.params))
    assert between > 0
    assert np.log(stack.high / stack.mid) ** 2 == pytest.approx(own + quantile**2 * between)


@pytest.mark.parametrize(
    ("words", "kwargs", "message"),
    [
        (["power"], {"factor": 1.1}, "4 must be held out"),
        (["power"], {"labels": np.ones(60)}, "1 run within"),
        ([], {}, "no laws"),
        (["power", laws.PowerLaw], {}, "twice"),
        (["powr"], {}, "did you mean"),
        (["power"], {"origins": 0}, "origins"),
        (["power"], {"U": np.ones(60)}, "no law asks for U"),
        (["power", "size-data"], {}, "N is missing"),
        (["offset"], {"factor": 9999.0}, "lower the factor"),
    ],
)
def test_choose_refuses(words, kwargs, message):
    with pytest.raises(UserError, match=message):
        choose(words, **(runs_of(TRUE, noise=0.01) | kwargs))
