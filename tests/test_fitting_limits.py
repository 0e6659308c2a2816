"""fit() on what it must refuse, and on data that tell nothing."""

import json

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_fitting import C, surface_runs

from scalelaw.errors import UserError
from scalelaw.fitting import Huber, fit
from scalelaw.laws import DataRepetition, OffsetPowerLaw, PowerLaw, SizeData


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"L": [1.0, np.nan, 2.0]}, "L: row 2 is NaN"),
        ({"L": [1.0, np.inf, 2.0]}, "L: row 2 is infinite"),
        ({"L": [-1.0, 0.0, 2.0]}, "L: rows 1, 2 are not positive"),
        ({"C": [1.0, 0.0, 2.0]}, "C: row 2 is not positive"),
        ({"C": [1.0, 1.0, 1.0]}, "all 3 runs share"),
        ({"C": [1.0, 2.0]}, "lengths differ"),
        ({"L": ["a", "b", "c"]}, "row 1"),
        ({"L": [[1.0, 2.0, 3.0]]}, "shape"),
        ({"N": [1.0, 2.0, 3.0]}, "N is no variable"),
    ],
)
def test_bad_input_is_refused_with_its_place(change, words):
    given = {"C": [1.0, 2.0, 4.0], "L": [3.0, 2.0, 1.5], **change}
    with pytest.raises(UserError, match=words):
        fit(PowerLaw, **given)


def test_too_few_runs_and_wrong_words_are_refused():
    with pytest.raises(UserError, match="4 runs for 5 parameters"):
        fit(SizeData, **{letter: values[:4] for letter, values in surface_runs(0.0).items()})
    with pytest.raises(UserError, match="did you mean 'linear'"):
        fit(PowerLaw, C=C, L=C, space="linaer")
    with pytest.raises(UserError, match="L is missing"):
        fit(PowerLaw, C=C)
    with pytest.raises(UserError, match="delta"):
        Huber(0.0)
    found = fit(PowerLaw, C=C, L=C**-0.1)
    with pytest.raises(UserError, match="no quantity 'alhpa'; did you mean 'alpha'"):
        found.interval("alhpa")
    with pytest.raises(UserError, match="unit 'siez'; did you mean 'size'"):
        found.bootstrap(10, unit="siez")
    with pytest.raises(UserError, match="give exactly C"):
        found.predict(N=3.0)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"C": "large"}, "^predict power: C = 'large' is not a number; pass numbers$"),
        ({"C": ["10", "big", "bigger"]}, "C = 'big' is not a number"),
        ({"C": np.array(["10", "ten"])}, "C = .*'ten'.* is not a number"),
        ({"C": [[1.0], [1.0, 2.0]]}, r"C = \[1.0\] is not a number"),
        ({"C": 1j}, "C = 1j is not a number"),
        ({"C": None}, "C must be positive and finite"),
        ({"C": 10.0, "level": "0.95"}, "^interval: level = '0.95' must lie between 0 and 1$"),
        ({"C": 10.0, "level": 95}, "^interval: level = 95 must lie between 0 and 1$"),
    ],
)
def test_a_prediction_at_what_is_no_number_is_refused(given, words):
    found = fit(PowerLaw, C=C, L=C**-0.1)
    for asked in (found, found.bootstrap(20, "run")):
        with pytest.raises(UserError, match=words):
            asked.predict(**given)
    if "level" not in given:
        with pytest.raises(UserError, match=words):
            found.beyond(**given)
        with pytest.raises(UserError, match=words):
            found.cautions(**given)


def test_points_of_a_prediction_go_together_and_may_be_written_as_text():
    found = fit(SizeData, **surface_runs(0.0))
    with pytest.raises(UserError, match=r"^predict size-data: shapes differ \(N \(2,\), D \(3,\)\); pass one a point"):
        found.predict(N=[1e5, 2e5], D=[1e6, 2e6, 3e6])
    one, other = found.predict(N="1e5", D=["1e6", "2e6"]), found.predict(N=1e5, D=[1e6, 2e6])
    np.testing.assert_array_equal(one.mid, other.mid)
    np.testing.assert_array_equal(one.beyond, other.beyond)


def test_unique_images_written_as_text_count_as_numbers():
    """Compared as text, 900 unique images would be more than 10,000 seen."""
    law = DataRepetition(E=0.5, A=40.0, B=50.0, alpha=0.35, beta=0.4, R_D=6.0, R_N=5.0)
    N, D, U = (x.ravel() for x in np.meshgrid(np.geomspace(2e4, 4e6, 4), 3e3 * 2.0 ** np.arange(6), [3e3, 1.2e4]))
    found = fit(type(law), N=N, D=D, U=U, L=law.predict(N=N, D=D, U=U))
    for cls in (str, float):
        seen, unique = (np.array([cls(value)], object) for value in (1e4, 900.0))
        assert found.beyond(N=1e5, D=seen, U=unique).item() == pytest.approx(3e3 / 900), cls


@pytest.mark.parametrize("seed", [-1, 1.5, "one", None, True, [1, 2]])
def test_a_seed_is_a_whole_number_from_0_on(seed):
    found = fit(PowerLaw, C=C, L=C**-0.1 * np.exp(0.01 * np.sin(np.arange(len(C)))))
    for draw in (found.bootstrap, found.spreads):
        with pytest.raises(UserError, match=r"^bootstrap: seed = .* must be a whole number, 0 or more$"):
            draw(20, seed=seed)
    np.testing.assert_array_equal(found.bootstrap(20, seed=np.int64(3)).theta, found.bootstrap(20, seed=3).theta)


@pytest.mark.parametrize(
    ("losses", "status"),
    [([3.0, 3.1, 2.0, 2.1], "not_identified"), ([1.0, 2.0, 3.0, 4.0], "at_bound"), ([2.0, 2.0, 2.0, 2.0], "at_bound")],
)
def test_hopeless_data_say_so(losses, status):
    """Two different C, a rising loss, a constant loss: no offset can be told from them, and none is claimed."""
    compute = [1.0, 1.0, 2.0, 2.0] if status == "not_identified" else [1.0, 2.0, 3.0, 4.0]
    found = fit(OffsetPowerLaw, C=compute, L=losses)
    assert found.status == status
    assert found.warnings
    json.dumps(found.to_dict(), allow_nan=False)


@settings(max_examples=30, deadline=None)
@example([(1.8242388012454627e29, 1.0), (6.045435116967224e29, 1.0), (0.001953125, 2.0)])  # a singular Newton matrix
@given(st.lists(st.tuples(st.floats(1e-30, 1e30), st.floats(1e-30, 1e30)), min_size=3, max_size=12))
def test_any_positive_data_give_a_status_and_plain_json(pairs):
    compute, losses = (np.array(values) for values in zip(*pairs, strict=True))
    if np.ptp(np.log(compute)) < 1e-9:
        with pytest.raises(UserError, match="share the value"):
            fit(OffsetPowerLaw, C=compute, L=losses)
        return
    found = fit(OffsetPowerLaw, C=compute, L=losses)
    json.dumps(found.to_dict(), allow_nan=False)
    assert found.status in ("converged", "at_bound", "not_identified", "dead_term", "failed")
    assert found.status == "converged" or found.warnings
    assert str(found)
