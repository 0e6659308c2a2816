"""The loss's interval in three parts: each from what it is said to come from, and together covering dearer runs."""

import functools
from unittest import mock

import numpy as np
import pandas as pd
import pytest

from scalelaw.fitting import fit
from scalelaw.fitting.straightness import t_quantile
from scalelaw.laws import SizeData
from scalelaw.plan import form, interval
from scalelaw.plan.form import _Misses, _scale, form_error
from scalelaw.plan.interval import loss_interval, spread_of_runs
from scalelaw.runs import RunTable

TRUTH = SizeData(E=1.8, A=480.0, B=2100.0, alpha=0.347, beta=0.367)
N, D = (grid.ravel() for grid in np.meshgrid(np.geomspace(5e7, 5e9, 10), np.geomspace(1e9, 1e11, 6), indexing="ij"))
COST = 6 * N * D
TIMES = 4, 10
"""Budgets predicted for, over the dearest run."""


def interaction(size, data):
    """Size and data do not add up: a form that the fitted surface does not have."""
    return TRUTH.predict(N=size, D=data) + 0.3 * (size / 1e9) ** -0.2 * (data / 1e10) ** -0.2


def broken(size, data):
    """The exponent of size falls by .1 above 5e8."""
    return TRUTH.predict(N=size, D=data) + TRUTH.A * size**-TRUTH.alpha * ((1 + (size / 5e8) ** 2) ** 0.05 - 1)


def right(size, data):
    return TRUTH.predict(N=size, D=data)


def surface_of(law, noise, rng):
    return fit(SizeData, N=N, D=D, L=law(N, D) * np.exp(noise * rng.standard_normal(len(N))))


def table(surface):
    return RunTable.from_frame(
        pd.DataFrame({"macs_per_image": N, "images_seen": D, "val_loss": surface.data["L"], "train_flop": COST})
    )


@functools.cache
def outcomes(law, seed, noise=0.005):
    """{times: whether a further run at `times` the dearest is inside the interval, and inside it without the form's}.

    A surface's roll-outs are the same for every budget, and made once.
    """
    rng = np.random.default_rng(seed)
    surface = surface_of(law, noise, rng)
    runs, rolled = table(surface), form._roll_outs(surface, COST)
    found = {}
    for times in TIMES:
        size, data = surface.fitted.optimum(times * COST.max(), k=6.0)
        with mock.patch.object(form, "_roll_outs", return_value=rolled):
            said = loss_interval(surface, runs, COST, float(size), float(data), times)
        outcome = float(law(size, data)) * np.exp(noise * rng.standard_normal())
        away = np.log(outcome / said.loss)
        sides = [part.above if away > 0 else part.below for part in (said.parameters, said.seeds)]
        found[times] = said.low <= outcome <= said.high, abs(away) <= np.hypot(*sides)
    return found


def covered(law, times, draws):
    """Shares of further runs inside the interval, and inside it without the form's part."""
    return np.mean([outcomes(law, seed)[times] for seed in range(draws)], axis=0)


@pytest.mark.parametrize("times", TIMES)
def test_a_right_form_is_covered_near_the_stated_level(times):
    whole, _ = covered(right, times, 20)
    assert whole >= 0.9


@pytest.mark.parametrize(("times", "most"), [(4, 0.8), (10, 0.6)])
def test_a_wrong_form_is_covered_only_with_its_part(times, most):
    whole, without = covered(interaction, times, 16)
    assert whole >= 0.9
    assert without <= most


@pytest.mark.slow
@pytest.mark.parametrize(("law", "least"), [(right, 0.93), (interaction, 0.9), (broken, 0.9)])
def test_coverage_over_many_draws(law, least):
    for times in TIMES:
        whole, _ = covered(law, times, 100)
        assert whole >= least


def test_parts_are_combined_as_squares_of_half_widths():
    surface = surface_of(right, 0.01, np.random.default_rng(0))
    found = loss_interval(surface, table(surface), COST, 3e9, 3e11, 5.0)
    sides = np.array([[part.below, part.above] for part in found.parts.values()])
    assert np.log(found.loss / found.low) == pytest.approx(np.hypot.reduce(sides[:, 0]))
    assert np.log(found.high / found.loss) == pytest.approx(np.hypot.reduce(sides[:, 1]))
    said = found.to_dict()
    assert list(said)[:4] == ["level", "parameters", "seeds", "form"]
    for name in ("parameters", "seeds", "form"):
        assert said[name]["low"] < found.loss < said[name]["high"]
        assert said[name]["half_width"] == pytest.approx(np.log(said[name]["high"] / said[name]["low"]) / 2)


def test_nothing_extrapolated_is_no_form_error_and_the_old_interval():
    """Without seed replicates parameters and residuals are the fit's own interval for a new run."""
    surface = surface_of(right, 0.01, np.random.default_rng(1))
    found = loss_interval(surface, table(surface), COST, 1e9, 1e10, 1.0)
    band = surface.predict(new_run=True, N=1e9, D=1e10)
    assert found.form.above == 0
    assert found.low == pytest.approx(float(band.low), rel=1e-9)
    assert found.high == pytest.approx(float(band.high), rel=1e-9)


def test_the_forms_part_grows_in_proportion_to_the_logarithm():
    surface = surface_of(right, 0.01, np.random.default_rng(2))
    parts = [loss_interval(surface, table(surface), COST, 1e9, 1e11, factor).form.above for factor in (2, 4, 16)]
    assert np.array(parts) / parts[0] == pytest.approx([1, 2, 4])


def test_the_scale_is_that_of_errors_larger_than_their_noise():
    """Errors of .01 for every factor e, in forty roll-outs without noise: the prior hardly counts."""
    rng = np.random.default_rng(3)
    outs = []
    for _ in range(40):
        x = rng.uniform(0.5, 3, 30)
        outs.append(_Misses(0.01 * x * rng.standard_normal(30), np.full(30, 1e-12), x))
    assert _scale(outs, 1e-3) == pytest.approx(0.01, rel=0.1)


def test_without_noise_or_clipping_the_scale_has_a_closed_form():
    """Mean squares of error / x of the roll-outs, averaged with the prior's: (sum m_r + n0 s0^2) / (n + n0)."""
    x = np.linspace(1, 2, 5)
    outs = [_Misses(share * x, np.full(5, 0.0), x) for share in (0.010, 0.012)]
    wanted = (sum(s**2 for s in (0.010, 0.012)) / form._KAPPA + form.PRIOR_COUNT * 0.011**2) / (2 + form.PRIOR_COUNT)
    assert _scale(outs, 0.011) == pytest.approx(np.sqrt(wanted), rel=1e-9)


def test_a_normal_variable_is_clipped_as_said():
    z = np.random.default_rng(4).standard_normal(1_000_000)
    assert np.minimum(z * z, form.CLIP**2).mean() == pytest.approx(form._KAPPA, abs=0.005)


def test_noise_explains_errors_and_what_it_explains_is_no_form_error():
    rng = np.random.default_rng(5)
    x = np.linspace(0.5, 3, 30)
    outs = [_Misses(0.02 * rng.standard_normal(30), np.full(30, 0.02**2), x) for _ in range(40)]
    assert _scale(outs, 0.002) < 0.004


def test_few_cheap_runs_leave_the_prior_and_say_so():
    rng = np.random.default_rng(6)
    few = np.quantile(COST, 0.8) < COST
    L = right(N, D) * np.exp(0.01 * rng.standard_normal(len(N)))
    surface = fit(SizeData, N=N[few], D=D[few], L=L[few])
    found = form_error(surface, np.linspace(1, 1.5, few.sum()), 0.01, -0.05)
    assert found.roll_outs == 0
    assert found.bias is None
    assert found.scale == pytest.approx(form.PRIOR_SHARE * 0.05)


def test_roll_outs_do_not_depend_on_units():
    rng = np.random.default_rng(7)
    L = interaction(N, D) * np.exp(0.005 * rng.standard_normal(len(N)))
    one = form_error(fit(SizeData, N=N, D=D, L=L), COST, 0.005, -0.03)
    two = form_error(fit(SizeData, N=N / 7, D=D * 1e3, L=L * 20), COST * 1e-9, 0.005, -0.03)
    assert two.scale == pytest.approx(one.scale, rel=1e-6)
    assert (two.roll_outs, two.held_out) == (one.roll_outs, one.held_out)
    assert two.reach == pytest.approx(one.reach)
    assert one.reach >= 10


def with_seeds(noise, seeds, rates=(1.0,)):
    """Every third run of the layout several times, from a right form."""
    rng = np.random.default_rng(8)
    size, data = np.repeat(N[::3], seeds), np.repeat(D[::3], seeds)
    L = right(size, data) * np.exp(noise * rng.standard_normal(len(size)))
    seed = np.tile(np.arange(seeds), len(N[::3]))
    frame = pd.DataFrame(
        {"macs_per_image": size, "images_seen": data, "val_loss": L, "seed": seed, "peak_lr": rates[0]}
    )
    return RunTable.from_frame(frame)


def test_seed_replicates_give_the_spread_of_a_run():
    runs = with_seeds(0.03, 4)
    best = runs.best_over("peak_lr")
    surface = fit(SizeData, N=best.macs_per_image, D=best.images_seen, L=best.val_loss)
    spread = spread_of_runs(runs, surface)
    assert spread.replicated
    assert spread.dof == 60
    assert spread.seeds == pytest.approx(0.03, rel=0.2)
    logs = np.log(runs.val_loss).reshape(-1, 4)
    assert spread.seeds == pytest.approx(np.sqrt(logs.var(axis=1, ddof=1).mean()))
    found = loss_interval(surface, runs, best.macs_per_image * best.images_seen, 1e9, 1e10, 1.0)
    assert found.seeds.above == pytest.approx(t_quantile(0.95, 60) * spread.seeds)
    assert "60 seed replicates" in found.seeds.basis


def test_what_the_surface_misses_beyond_seeds_is_the_forms():
    """A surface that misses its own runs by far more than seeds differ has a form error without extrapolation."""
    runs = with_seeds(0.001, 3)
    frame = runs.frame.copy()
    frame["val_loss"] *= np.exp(0.03 * np.cos(3 * np.log(frame["macs_per_image"] / 1e9)))
    runs = RunTable.from_frame(frame)
    best = runs.best_over("peak_lr")
    surface = fit(SizeData, N=best.macs_per_image, D=best.images_seen, L=best.val_loss)
    found = loss_interval(surface, runs, best.macs_per_image * best.images_seen, 1e9, 1e10, 1.0)
    residual = np.sqrt(surface.residuals @ surface.residuals / surface.point.dof)
    assert found.seeds.above < 0.004
    assert found.form.above == pytest.approx(t_quantile(0.95, surface.point.dof) * residual, rel=0.02)


def test_replicates_at_far_off_rates_and_single_runs_say_nothing():
    runs = with_seeds(0.03, 4)
    far = runs.frame.assign(peak_lr=10.0)
    far["val_loss"] *= np.exp(0.5 * np.abs(np.random.default_rng(9).standard_normal(len(far))))
    both = RunTable.from_frame(pd.concat([runs.frame, far], ignore_index=True))
    best = runs.best_over("peak_lr")
    surface = fit(SizeData, N=best.macs_per_image, D=best.images_seen, L=best.val_loss)
    assert spread_of_runs(both, surface) == spread_of_runs(runs, surface)
    alone = RunTable.from_frame(best.frame)
    spread = spread_of_runs(alone, surface)
    assert not spread.replicated
    assert spread.misfit == 0
    assert spread.dof == surface.point.dof
    assert interval.FEWEST_REPLICATES == 3


def test_the_scale_of_the_form_is_found_where_the_prior_is_next_to_nothing():
    """A surface that is almost flat has a tiny prior; its roll-outs may miss by far more."""
    misses = _Misses(error=np.full(5, 0.4), variance=np.full(5, 1e-4), beyond=np.full(5, 2.0))
    scale = _scale([misses] * 4, prior=1e-9)
    # four roll-outs whose squares are all (s x)^2, and a prior of two whose part vanishes: 4 (e / s x)^2 = 6 kappa
    assert scale == pytest.approx(0.2 * np.sqrt(4 / (6 * 0.97756)), rel=0.01)
