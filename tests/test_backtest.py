"""Back-tests: curves continued, the largest runs held out, laws told apart or not."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import lfilter
from scipy.stats import t as student

from scalelaw import laws
from scalelaw.backtest import choose, extrapolate, hold_out_largest
from scalelaw.backtest.choice import _told_apart
from scalelaw.backtest.points import gather
from scalelaw.errors import UserError
from scalelaw.fitting import fit
from scalelaw.runs import RunTable

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
public = pytest.mark.skipif(not DATA.exists(), reason="the public measurements (shared/data) are not here")

X = np.geomspace(1e6, 1e9, 40)
AHEAD = 1e9 * np.array([1.0, 1.3, 2.0, 4.0])


def offset(x):
    return 0.5 + 0.5 * (x / 1e6) ** -0.35


def noisy(x, law, sd=0.004, seed=0):
    return law(x) * np.exp(sd * np.random.default_rng(seed).standard_normal(len(x)))


def ends(band):
    assert band.low is not None
    assert band.high is not None
    return band.low, band.high


# ---- extrapolate


def test_exact_power_law_is_continued_exactly():
    ahead = 1e9 * np.array([2.0, 10.0, 100.0])
    band = extrapolate(X, 3.0 * X**-0.21, ahead)
    np.testing.assert_allclose(band.mid, 3.0 * ahead**-0.21, rtol=1e-12)
    np.testing.assert_allclose(band.high, band.low, rtol=1e-5)


@pytest.mark.parametrize(
    "law",
    [
        offset,
        lambda x: (1e8 / x + 1) ** 0.3,  # M3
        lambda x: 0.4 * np.exp(0.6 * (x / 1e6) ** -0.3),
        lambda x: x**-0.1,
    ],
    ids=["offset", "M3", "log-offset", "power"],
)
def test_laws_that_it_averages_are_recovered(law):
    """Each is a case of L = B (x^-delta + G)^c, the averaged law."""
    band = extrapolate(X, noisy(X, law, 1e-4), AHEAD)
    np.testing.assert_allclose(band.mid, law(AHEAD), rtol=6e-3)


@pytest.mark.parametrize(("n", "sd", "phi"), [(60, 0.005, 0.0), (60, 0.005, 0.7), (12, 0.01, 0.0), (30, 0.02, 0.5)])
@pytest.mark.parametrize("law", [offset, lambda x: x**-0.2, lambda x: (3e8 / x + 1) ** 0.3], ids=["E", "power", "M3"])
def test_intervals_cover_single_points_under_correlated_noise(law, n, sd, phi):
    """Nominal 95 % intervals of points at up to twice the largest x, noise AR(1) along the curve."""
    rng = np.random.default_rng(5)
    x = np.concatenate([np.geomspace(1e6, 1e9, n), 1e9 * np.geomspace(1.05, 2, 15)])
    inside = []
    for _ in range(25):
        noise = lfilter([np.sqrt(1 - phi**2)], [1, -phi], rng.standard_normal(len(x))) * sd
        y = law(x) * np.exp(noise)
        low, high = ends(extrapolate(x[:n], y[:n], x[n:]))
        inside.append(((low <= y[n:]) & (y[n:] <= high)).mean())
        assert np.log(high / low).max() < 100 * sd
    assert np.mean(inside) >= 0.93


@settings(max_examples=15, deadline=None)
@given(st.floats(-25, 15), st.floats(-25, 25), st.integers(0, 3))
def test_units_do_not_matter(x_unit, y_unit, seed):
    y = noisy(X, offset, seed=seed)
    one = extrapolate(X, y, AHEAD)
    scaled = extrapolate(X * 10.0**x_unit, y * 10.0**y_unit, AHEAD * 10.0**x_unit)
    for a, b in zip((one.mid, *ends(one)), (scaled.mid, *ends(scaled)), strict=True):
        np.testing.assert_allclose(b / 10.0**y_unit, a, rtol=1e-10)


def test_order_of_points_does_not_matter_and_equal_inputs_give_equal_bits():
    y = noisy(X, offset)
    order = np.random.default_rng(1).permutation(len(X))
    one, again, shuffled = extrapolate(X, y, AHEAD), extrapolate(X, y, AHEAD), extrapolate(X[order], y[order], AHEAD)
    assert one.to_dict() == again.to_dict() == shuffled.to_dict()


def test_the_plateau_before_the_fall_is_left_out():
    """A start at chance level says nothing about the end."""
    falling = noisy(X, offset)
    early = np.geomspace(1e3, 9e5, 30)
    whole = extrapolate(np.concatenate([early, X]), np.concatenate([np.full(30, falling[0] * 1.001), falling]), AHEAD)
    np.testing.assert_allclose(whole.mid, extrapolate(X, falling, AHEAD).mid, rtol=4e-3)


@pytest.mark.parametrize("at", [5, 20, 35, 38])
def test_a_spike_moves_little(at):
    y = noisy(X, offset)
    spiked = y.copy()
    spiked[at] *= 1.5
    np.testing.assert_allclose(extrapolate(X, spiked, AHEAD).mid, extrapolate(X, y, AHEAD).mid, rtol=0.06)


def test_intervals_widen_with_distance_level_and_shape_is_kept():
    y = noisy(X, offset)
    ahead = 1e9 * np.geomspace(1, 20, 6).reshape(2, 3)
    band, wide = extrapolate(X, y, ahead), extrapolate(X, y, ahead, level=0.99)
    assert band.mid.shape == (2, 3)
    width = np.log(ends(band)[1] / ends(band)[0]).ravel()
    assert (np.diff(width) > 0).all()
    assert (ends(wide)[0] < ends(band)[0]).all()
    assert band.level == 0.95


def test_finished_runs_count_for_more_than_points_of_one_run():
    """Independent runs leave more degrees of freedom than as many points of one autocorrelated run."""
    y = noisy(X, offset)
    one_run, runs = extrapolate(X, y, AHEAD), extrapolate(X, y, AHEAD, labels=np.arange(len(X)))
    assert (ends(runs)[1] / ends(runs)[0] < ends(one_run)[1] / ends(one_run)[0]).all()
    same = extrapolate(X, y, AHEAD, labels=["run"] * len(X))
    assert same.to_dict() == one_run.to_dict()


def test_points_at_one_x_are_averaged_and_crowded_curves_thinned():
    y = noisy(X, offset)
    twice = gather(np.repeat(X, 2), np.repeat(y, 2), np.zeros(80, np.int64), 0.2)
    assert len(twice.t) == 40
    assert twice.within == pytest.approx(0, abs=1e-20)
    np.testing.assert_allclose(twice.y, np.log(y), rtol=1e-12)
    x = np.linspace(1e6, 1e9, 30_000)
    crowded = gather(x, noisy(x, offset, 0.01), np.zeros(len(x), np.int64), 0.2)
    assert len(crowded.t) <= 400
    assert crowded.within == pytest.approx(1e-4, rel=0.05)  # noise that averaging removed is kept for the intervals
    band = extrapolate(x, noisy(x, offset, 0.01), AHEAD)
    np.testing.assert_allclose(band.mid, offset(AHEAD), rtol=5e-3)
    assert (np.log(ends(band)[1] / band.mid) > 1.96 * 0.01).all()


def test_closeness_of_points():
    """Points far apart or of different runs count whole; close ones of one run share."""
    x, y = np.array([1.0, 1.0001, 1e4, 1e8]), np.array([4.0, 3.9, 3.0, 2.0])
    one = gather(x, y, np.zeros(4, np.int64), 0.2)
    np.testing.assert_allclose(one.independence(), [0.5, 0.5, 1, 1], rtol=1e-6)
    assert one.pieces(one.independence()) == pytest.approx(3, rel=1e-6)
    others = gather(x, y, np.arange(4), 0.2)
    np.testing.assert_allclose(others.independence(), 1)
    assert others.pieces(np.ones(4)) == pytest.approx(4)


def test_copies_of_points_add_nothing():
    """Checkpoints logged close together are one observation, wherever on the curve they are."""
    y = noisy(X, offset)
    close = X[8] * (1 + 1e-4 * np.arange(1, 40))
    crowded = extrapolate(np.append(X, close), np.append(y, np.full(39, y[8])), AHEAD)
    plain = extrapolate(X, y, AHEAD)
    np.testing.assert_allclose(crowded.mid, plain.mid, rtol=1e-3)
    np.testing.assert_allclose(np.log(ends(crowded)[1] / crowded.mid), np.log(ends(plain)[1] / plain.mid), rtol=0.1)


def test_rising_and_flat_curves_stay_within_reason():
    flat = extrapolate(X, np.full(40, 0.7), AHEAD)
    np.testing.assert_allclose(flat.mid, 0.7)
    rising = 1 / noisy(X, offset)
    band = extrapolate(X, rising, AHEAD[:2])
    assert (ends(band)[0] < rising[-1]).all()
    assert (ends(band)[1] > rising[-1]).all()


@pytest.mark.parametrize(
    ("x", "y", "ahead", "kwargs", "message"),
    [
        (X, offset(X)[:-1], AHEAD, {}, "one y for every x"),
        (X[:3], offset(X)[:3], AHEAD, {}, "needs 4"),
        (np.full(9, 2.0), np.ones(9), AHEAD, {}, "1 different values"),
        (X, -offset(X), AHEAD, {}, "y: 40 of 40"),
        (np.where(X > 5e8, np.nan, X), offset(X), AHEAD, {}, "x: "),
        (X, offset(X), np.array([np.inf]), {}, "x_new"),
        (X, offset(X), X[-2], {}, "below the largest x"),
        (X, offset(X), AHEAD, {"level": 1.0}, "level"),
        (X, offset(X), AHEAD, {"labels": [1, 2]}, "labels"),
        (X[None], offset(X), AHEAD, {}, "shape"),
        (["a"] * 40, offset(X), AHEAD, {}, "not a number"),
    ],
)
def test_extrapolate_refuses(x, y, ahead, kwargs, message):
    with pytest.raises(UserError, match=message):
        extrapolate(x, y, ahead, **kwargs)


# ---- hold_out_largest


def runs_of(law, n=60, noise=0.0, seed=0):
    rng = np.random.default_rng(seed)
    C = np.exp(rng.uniform(np.log(1e18), np.log(1e22), n))
    return {"C": C, "L": law.predict(C=C) * np.exp(noise * rng.standard_normal(n))}


TRUE = laws.OffsetPowerLaw(E=1.7, A=1.7e18**0.15 * 3, alpha=0.15)
SURFACE = laws.SizeData(E=0.8, A=60.0, B=120.0, alpha=0.35, beta=0.4)


def surface_runs(noise, seed=0, n=80):
    rng = np.random.default_rng(seed)
    N = np.exp(rng.uniform(np.log(1e5), np.log(1e7), n))
    D = np.exp(rng.uniform(np.log(1e4), np.log(1e6), n))
    return {"N": N, "D": D, "L": SURFACE.predict(N=N, D=D) * np.exp(noise * rng.standard_normal(n))}


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


# ---- choose


def test_the_true_law_is_picked_when_it_can_be_told():
    choice = choose(["power", "offset"], **runs_of(TRUE, noise=0.003))
    assert [one.verdict for one in choice.candidates] == ["best", "worse"]
    assert choice.best.law is laws.OffsetPowerLaw
    assert choice.told
    assert [one.weight for one in choice.candidates] == [1, 0]
    assert "told apart" in str(choice)


def test_laws_that_agree_are_not_told_apart_and_the_simpler_comes_first():
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
    assert not _told_apart((best,), (off_once,))
    assert _told_apart((best,), (off_always,))
    assert not _told_apart((best, off_always), (off_always, best))  # in every origin


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


def test_recorded_sweep_can_be_back_tested():
    """Its dearest factor of 10, laws in compute and in size and data side by side."""
    best = RunTable.load(ROOT / "runs" / "recorded" / "demo").finished().best_over("peak_lr")
    choice = choose(
        ["power", "offset", "size-data"],
        C=best.core_hours,
        N=best.macs_per_image,
        D=best.images_seen,
        L=best.val_loss,
    )
    assert choice.cost == "C"
    assert choice.candidates[0].hold_outs[0].n >= 4
    assert all(np.isfinite(one.rms) for one in choice.candidates)


# ---- on public data


@public
def test_published_tables_can_be_back_tested():
    """Chinchilla's and the IsoFLOP tables: the law with a floor beats those without on the dearest factor of 10."""
    table = pd.read_csv(DATA / "chinchilla_figure4.csv").sort_values("loss").iloc[:-5]
    N = table["Model Size"].to_numpy()
    chinchilla = {"N": N, "D": table["Training FLOP"].to_numpy() / (6 * N), "L": table["loss"].to_numpy()}
    words = ["size-data", "kaplan", "L = A N^-alpha + B D^-beta"]
    choice = choose(words, **chinchilla)
    assert choice.best.law is laws.SizeData
    assert choice.told
    assert choice.candidates[0].hold_outs[0].rms < 0.02
    best = 0
    for _, rows in pd.read_csv(DATA / "isoflops.csv").groupby("experiment"):
        found = choose(words, N=rows["params"], D=rows["tokens"], L=rows["loss"], compute=rows["budget"])
        assert found.candidates[0].hold_outs[0].n >= 4
        best += found.best.law is laws.SizeData
    assert best >= 4


@public
def test_extrapolation_benchmark():
    """The curves of Alabdulmohsin et al. (2022): fitted where is_fit_point = 1, rms error of ln loss on the others."""
    table = pd.read_csv(DATA / "extrapolation_benchmark.csv")
    errors, inside = {}, {}
    for (domain, _, _), rows in table.groupby(["domain", "task", "model"], sort=False):
        seen = (rows["is_fit_point"] == 1).to_numpy()
        x, y = rows["examples_seen"].to_numpy(float), rows["loss"].to_numpy()
        band = extrapolate(x[seen], y[seen], x[~seen])
        errors.setdefault(domain, []).append(np.sqrt(np.mean(np.log(band.mid / y[~seen]) ** 2)))
        low, high = ends(band)
        inside.setdefault(domain, []).append((low <= y[~seen]) & (y[~seen] <= high))
    assert {domain: len(values) for domain, values in errors.items()} == {"IC": 36, "NMT": 5, "LM": 5}
    score = {domain: np.median(values) for domain, values in errors.items()}
    assert score["IC"] <= 0.0230
    assert (score["LM"] + score["NMT"]) / 2 <= 0.0045
    for domain, hits in inside.items():
        assert np.concatenate(hits).mean() >= 0.9, domain
