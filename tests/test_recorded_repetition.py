"""The recorded sweep of repeated images: what it must have, and what it tells."""

from pathlib import Path

import numpy as np
import pytest

import scalelaw as sl

RECORDED = Path(__file__).resolve().parents[1] / "runs" / "recorded" / "repetition"


@pytest.fixture(scope="module")
def runs() -> sl.RunTable:
    return sl.RunTable.load(RECORDED)


def test_it_has_three_training_sets_each_four_times_the_one_before(runs):
    sizes = np.unique(runs.frame["unique_images"])
    np.testing.assert_allclose(sizes[1:] / sizes[:-1], 4.0)
    assert (runs.frame["status"] == "finished").all()


def test_below_the_loss_of_guessing_repetition_is_told_and_the_two_forms_agree_on_what_more_images_buy(runs):
    """Images that never wear out are rejected; the form in which passes harm fits best, the other is not rejected."""
    found = sl.frontier(runs).repetition
    assert (found.form, found.status) == ("overfit", "converged")
    assert all(one.fit.fix["L0"] == pytest.approx(np.log(16)) for one in found.choice.candidates)
    verdicts = {one.law.word: one.verdict for one in found.everything.candidates}
    assert verdicts == {"overfit-chance": "best", "repetition-chance": "as good", "size-data": "worse"}
    squares = {word: fit.objective_value for word, fit in found.fits.items()}
    assert squares["overfit"] < 0.5 * squares["repetition"]
    one = found.worth(N=259328.0, D=98304.0, U=12288.0)
    record = one.to_dict()
    assert [form["form"] for form in record["forms"]] == ["overfit"]
    assert [form["form"] for form in record["left_out"]] == ["repetition"]
    shares = [form["share"] for form in (*record["forms"], *record["left_out"])]
    assert shares == pytest.approx([0.097, 0.098], abs=0.003)
    assert 0 < one.interval[0] < one.gain < one.interval[1] < 0.2 * one.loss


def test_without_the_loss_of_guessing_the_forms_are_not_told_apart(runs):
    unknown = sl.RunTable.from_frame(runs.frame.assign(variant="mine " + runs.frame["variant"].astype(str)))
    found = sl.frontier(unknown).repetition
    assert found.status == "not_identified"


def test_in_the_smallest_set_more_passes_make_the_loss_rise(runs):
    best = runs.finished().best_over("peak_lr").frame
    small = best[best["unique_images"] == best["unique_images"].min()]
    by_epochs = small.pivot_table(index="epochs", columns="variant", values="val_loss")
    for model in ("N2", "N3", "N4"):
        assert by_epochs[model].idxmin() <= 8
        assert by_epochs[model][32] > 1.05 * by_epochs[model][8]
    assert by_epochs["N0"].idxmin() == 32
