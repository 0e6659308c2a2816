"""Fits resampled together: what both share cancels, and one alone has the spread of its own bootstrap."""

import numpy as np
import pytest
from surface_runs import grid_runs

from scalelaw.errors import UserError
from scalelaw.fitting import fit
from scalelaw.fitting.paired import paired
from scalelaw.laws import SizeData

RUNS = np.arange(60)


def surface(data):
    return fit(SizeData, **data)


def test_what_two_fits_share_cancels():
    data = grid_runs()
    one, other = surface(data), surface({**data, "L": 2 * data["L"]})
    found = paired([one, other], [RUNS, RUNS], 60, seed=0)
    assert found.usable
    np.testing.assert_allclose(found.laws[1].E / found.laws[0].E, 2, rtol=1e-6)
    np.testing.assert_allclose(found.laws[1].alpha, found.laws[0].alpha, rtol=1e-6)


def test_one_fit_has_the_spread_of_its_own_bootstrap():
    alone = surface(grid_runs())
    found = paired([alone], [RUNS], 600, seed=1)
    own = alone.bootstrap(600, unit="run", seed=2)
    assert found.laws[0].alpha.std() == pytest.approx(own.stderr["alpha"], rel=0.15)
    assert found.interval(found.laws[0].alpha) == pytest.approx(own.interval("alpha"), rel=0.1)


def test_a_unit_may_be_in_one_fit_alone():
    data = grid_runs()
    half = {letter: values[30:] for letter, values in data.items()}
    found = paired([surface(data), surface(half)], [RUNS, RUNS[30:]], 40, seed=0)
    assert found.laws[0].alpha.shape == found.laws[1].alpha.shape
    assert found.laws[1].alpha.std() > found.laws[0].alpha.std()


def test_a_row_without_a_value_counts_as_beyond_both_ends():
    found = paired([surface(grid_runs())], [RUNS], 40, seed=0)
    values = np.arange(len(found.laws[0].E), dtype=float)
    assert found.interval(values)[0] is not None
    values[3] = np.nan
    assert found.interval(values) == (None, None)
    with pytest.raises(UserError, match="at least two"):
        paired([surface(grid_runs())], [0 * RUNS], 40, seed=0)
    with pytest.raises(UserError, match="seed = -1 must be a whole number"):
        paired([surface(grid_runs())], [RUNS], 40, seed=-1)
