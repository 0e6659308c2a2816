"""Forms of repetition: the loss of guessing, R_N where nothing tells it, answers where two forms stand."""

import json
from functools import cache

import numpy as np
import pytest
from test_repetition import AT, SURFACE, TRUTHS, drawn, layout, single

from scalelaw.compute import Budget
from scalelaw.frontiers import repetition
from scalelaw.frontiers.repetition_forms import ENDLESS, form_of
from scalelaw.laws import ChanceOverfit, ChanceRepetition, DataRepetition, Overfit
from scalelaw.plan import predict
from scalelaw.simulate import Truth, draw

CEILING = {"L0": float(np.log(16)), "p": 4.0}
LOW = {"E": 0.05, "A": 60.0, "B": 300.0, "alpha": 0.377, "beta": 0.58}
WORLDS = {
    **TRUTHS,
    "repetition, endless": DataRepetition(**SURFACE, R_D=4.0, R_N=1000.0),
    "repetition, ceiling": ChanceRepetition(**LOW, R_D=4.0, R_N=2.0, **CEILING),
    "repetition, endless, ceiling": ChanceRepetition(**LOW, R_D=4.0, R_N=1000.0, **CEILING),
    "overfit, ceiling": ChanceOverfit(**LOW, P=0.004, delta=0.975, kappa=0.56, **CEILING),
}
BEYOND = {"N": 4.5e5, "D": 208113.0, "U": 49152.0}
"""A run of four times the dearest one's compute, on the largest training set."""


def runs_of(world, seed=0, noise=0.03):
    return single(draw(layout(), Truth(WORLDS[world], None, noise), seed))


@cache
def found(world, seed=0, noise=0.03):
    return repetition(runs_of(world, seed, noise))


def test_both_forms_level_off_where_runs_do_and_only_there():
    levelled, plain = found("overfit, ceiling"), found("overfit")
    assert levelled.fits["overfit"].law is ChanceOverfit
    assert levelled.fits["overfit"].fix == CEILING
    assert plain.fits["overfit"].law is Overfit


def test_the_back_test_leaves_out_the_dearest_runs_and_the_largest_training_set():
    one, other = found("overfit").choice.candidates[0].hold_outs
    assert one.fit.data["N"].size == 60 - one.n
    assert set(other.data["U"]) == {49152}
    assert set(other.fit.data["U"]) == {3072, 12288}


def test_a_limit_of_size_that_nothing_tells_is_held_at_none_and_said():
    """R_N = 1000 does nothing on these sizes: held at infinity, with the interval of both readings."""
    law = found("repetition, endless")
    assert law.fits["repetition"].fix["R_N"] == ENDLESS
    assert "R_N cannot be told from infinity" in law.note
    free = law.forms.without_limit
    assert "R_N" not in free.fix
    gain = next(one for one in law.worth(**AT).forms if one.form == "repetition")
    for reading in (law.fits["repetition"], free):
        low, high = reading.interval("log_gain", **AT)
        assert gain.low <= (low or 0.0) <= high <= gain.high


def test_a_limit_of_size_that_shows_stays_free():
    law = found("repetition", noise=0.005)
    assert law.forms.without_limit is None
    assert law.fits["repetition"].params["R_N"] == pytest.approx(2.0, rel=0.5)
    assert "R_N" not in law.note


@cache
def untold():
    """Noisy runs of up to four passes: too few to see loss rise."""
    runs = runs_of("overfit", 1, 0.1)
    return runs.where(runs.images_seen <= 4.001 * runs.unique_images)


@cache
def noisy():
    return repetition(untold())


def test_noisy_runs_of_few_passes_leave_both_forms_standing():
    law = noisy()
    assert law.status == "not_identified"
    assert not law.forms.told
    assert law.forms.only_residuals_reject == ()
    assert "the two forms cannot be told apart: losses are their weighted mean" in law.note
    assert sum(one.weight for one in law.forms.standing) == pytest.approx(1)


@pytest.mark.slow
def test_two_forms_that_stand_both_answer():
    law = noisy()
    at = {**AT, "D": 4 * AT["U"]}
    one = law.worth(**at)
    assert {form.form for form in one.forms} == {"repetition", "overfit"}
    gains = [form.log_gain for form in one.forms]
    assert min(gains) <= one.log_gain <= max(gains)
    assert one.log_gain_low <= min(form.low for form in one.forms) <= max(gains) <= one.log_gain_high
    assert one.log_gain_low <= float(TRUTHS["overfit"].log_gain(**at)) <= one.log_gain_high
    assert "Two forms stand: by " in str(one)
    record = json.loads(json.dumps(one.to_dict(), allow_nan=False))
    assert record["share"] == pytest.approx(one.gain / one.loss)
    assert len(record["forms"]) == 2


@pytest.mark.slow
def test_a_plan_says_what_twice_the_images_buy_where_two_forms_stand():
    plan = predict(untold(), Budget(times=1), unique_images=12288)
    assert plan.status == "not_identified"
    assert "Two forms stand" in str(plan)
    (said,) = [caveat.sentence for caveat in plan.caveats if caveat.name == "repetition not identified"]
    assert "the two forms cannot be told apart" in said
    assert plan.repeats.worth.gain > 0


def test_a_form_that_the_residuals_alone_reject_is_named_beside_the_other():
    law = found("overfit")
    assert [form_of(one.law) for one in law.forms.only_residuals_reject] == ["repetition"]
    one = law.worth(**AT)
    assert [form.form for form in one.forms] == ["overfit"]
    (left,) = one.left_out
    assert left.log_gain == pytest.approx(law.fits["repetition"].estimate("log_gain", **AT))
    assert "By repetition, which misses the runs by more, it would be" in str(one)


@pytest.mark.slow
def test_where_more_epochs_harm_a_plan_made_for_twice_the_images_buys_more():
    runs, U = drawn("overfit"), 3072
    plan = predict(runs, Budget(times=1), unique_images=U)
    anew = plan.repeats.anew
    assert anew.images > 1.2 * plan.images
    assert anew.difference < -plan.repeats.worth.gain
    truth = TRUTHS["overfit"]
    macs = dict(zip(runs.variant, runs.macs_per_image, strict=True))
    if anew.variant in macs:
        true = float(truth.predict(N=macs[anew.variant], D=anew.images, U=2 * U))
        mine = float(truth.predict(N=plan.macs_per_image, D=plan.images, U=U))
        assert anew.low < true - mine < anew.high
    assert anew.epochs == pytest.approx(anew.images / (2 * U), rel=1e-3)
    assert "planned for them  " in str(plan)
    assert plan.to_dict()["repetition"]["planned_anew"]["variant"] == anew.variant


@pytest.mark.slow
@pytest.mark.parametrize("world", WORLDS)
def test_what_twice_the_images_buy_lies_in_its_interval(world):
    """95 % intervals over draws of known worlds, inside the runs and at four times their compute."""
    inside = []
    for seed in range(8):
        law = found(world, seed)
        for at in (AT, BEYOND):
            one, true = law.worth(**at), float(WORLDS[world].log_gain(**at))
            low, high = one.log_gain_low, one.log_gain_high
            inside.append((low is None or low <= true) and (high is None or true <= high))
    assert sum(inside) >= 14  # of 16; with 95 % inside fewer come once in 23
