"""Plans with so many unique images: losses, lengths and the worth of more by the law of repetition."""

import json

import numpy as np
import pytest
from test_repetition import TRUTHS, drawn, fitted

from scalelaw.compute import Budget
from scalelaw.plan import Candidate, predict
from scalelaw.plan.repeats import Repeats

MACS = np.array([7e4, 2e5, 6e5])
OPTIONS = tuple(Candidate(f"N{k}", None, macs) for k, macs in enumerate(MACS))


@pytest.mark.parametrize(("form", "U"), [("repetition", 12288.0), ("overfit", 3072.0)])
def test_losses_are_the_laws_own(form, U):
    law = fitted(form)
    given = Repeats(U, law, law.status)
    images = np.array([1.0, 4.0, 16.0]) * U
    assert given.loss(MACS, images) == pytest.approx(law.loss(MACS, images, U).mid, rel=1e-12)
    assert given.at(OPTIONS, 8 * U * 2e5 / MACS, 1, 8 * U).worth.gain == pytest.approx(law.worth(2e5, 8 * U, U).gain)


def test_a_run_is_no_longer_than_serves_it_where_more_epochs_harm():
    """With few images the best length is the truth's own minimum over lengths, far below what the budget buys."""
    law, U = fitted("overfit"), 3072.0
    most = np.full(3, 32 * U)
    images, loss = Repeats(U, law, law.status).best_length(MACS, most)
    lengths = np.geomspace(U / 2, 32 * U, 2000)
    for k, macs in enumerate(MACS):
        true = lengths[np.argmin(TRUTHS["overfit"].predict(N=macs, D=lengths, U=U))]
        assert images[k] == pytest.approx(true, rel=0.3)
        assert images[k] < most[k] / 2
    assert (loss <= Repeats(U, law, law.status).loss(MACS, most)).all()


def test_all_is_spent_where_repeats_are_only_worth_less():
    law, U = fitted("repetition"), 12288.0
    most = 8 * U * MACS[1] / MACS
    images, _ = Repeats(U, law, law.status).best_length(MACS, most)
    assert images == pytest.approx(most)


@pytest.mark.slow
@pytest.mark.parametrize("form", TRUTHS)
def test_the_plan_follows_the_law_and_says_what_twice_the_images_buy(form):
    runs, U, truth = drawn(form), 3072, TRUTHS[form]
    plan = predict(runs, Budget(times=1), unique_images=U)
    fresh = predict(runs, Budget(times=1))
    assert plan.surface.law == form
    assert plan.epochs == pytest.approx(plan.images / U, rel=1e-4)
    true = float(truth.predict(N=plan.macs_per_image, D=plan.images, U=U))
    assert plan.loss_low < true < plan.loss_high
    other = float(truth.predict(N=fresh.macs_per_image, D=fresh.images, U=U))
    assert true < other * 1.02  # what a plan that counts repeats as fresh would reach
    low, high = plan.repeats.worth.interval
    twice = float(truth.predict(N=plan.macs_per_image, D=plan.images, U=2 * U))
    assert low < true - twice < high
    said = {caveat.name for caveat in plan.caveats}
    assert ("budget not spent" in said) == (plan.images < 0.99 * plan.train_flop / 6 / plan.macs_per_image)
    assert ("budget not spent" in said) == (form == "overfit")
    record = json.loads(json.dumps(plan.to_dict(), allow_nan=False))["repetition"]
    assert record["form"] == form
    assert record["worth"]["unique_images"] == U
    assert "6,144 unique images for 3,072 would lower the loss by" in str(plan)
