"""fit() on what it must refuse, and on data that tell nothing."""

import json

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_fitting import C, surface_runs

from scalelaw.errors import UserError
from scalelaw.fitting import Huber, fit
from scalelaw.laws import OffsetPowerLaw, PowerLaw, SizeData


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
