"""Where trends are asked: what is no positive number, and no level, is refused in one line that names it."""

from __future__ import annotations

import numpy as np
import pytest
from rate_sweeps import sweep

from scalelaw.errors import UserError
from scalelaw.frontiers.trend import through
from scalelaw.learning_rate import optimal_learning_rates

C = np.geomspace(1, 1e4, 12)


@pytest.fixture(scope="module")
def rates():
    return optimal_learning_rates(sweep())


@pytest.fixture(scope="module")
def trend():
    noise = 0.01 * np.random.default_rng(0).standard_normal(len(C))
    return through("size", "flop", np.log(C), np.log(3) + 0.5 * np.log(C) + noise)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"C": "ten"}, "predict: C = 'ten' is not a number"),
        ({"C": [1.0, "x"]}, "predict: C = 'x' is not a number"),
        ({"C": 0.0}, "predict: C must be positive and finite"),
        ({"C": np.nan}, "predict: C must be positive and finite"),
        ({"C": 10.0, "level": 95}, "predict: level = 95 must lie between 0 and 1"),
    ],
)
def test_a_frontier_is_asked_at_compute(trend, given, words):
    assert trend.predict([10.0, 100.0]).mid.shape == (2,)
    with pytest.raises(UserError, match=words):
        trend.predict(**given)


@pytest.mark.parametrize(
    ("size", "epochs", "more", "words"),
    [
        ("big", 1.0, {}, "predict: size = 'big' is not a number"),
        (1e6, -1.0, {}, "predict: size, length must be positive and finite"),
        ([1e6, 2e6], [1.0, 2.0, 3.0], {}, r"predict: shapes differ \(size \(2,\), length \(3,\)\)"),
        (1e6, 1.0, {"level": "0.9"}, "predict: level = '0.9' must lie between 0 and 1"),
    ],
)
def test_a_trend_of_rates_is_asked_at_size_and_epochs(rates, size, epochs, more, words):
    assert rates.predict([1e6, 2e6], 1.0).mid.shape == (2,)
    with pytest.raises(UserError, match=words):
        rates.predict(size, epochs, **more)
    if not more:
        for candidate in rates.candidates().candidates:
            with pytest.raises(UserError, match=words):
                candidate.predict(size, epochs)
