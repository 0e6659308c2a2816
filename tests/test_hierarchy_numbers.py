"""Random numbers behind the built-in images: the generator, scaled bits, searches, distinct draws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.extend.random import threefry_2x32
from test_hierarchy import DEMO

from scalelaw.train.data import grammar, hierarchy
from scalelaw.train.data.threefry import below, threefry2x32


def test_our_threefry_is_jaxs():
    rng = np.random.default_rng(0)
    key, counters = rng.integers(2**32, size=2, dtype=np.uint32), rng.integers(2**32, size=(2, 50), dtype=np.uint32)
    ours = np.concatenate(threefry2x32(jnp.asarray(key), *map(jnp.asarray, counters)))
    theirs = np.asarray(threefry_2x32(jnp.asarray(key), jnp.asarray(counters.ravel())))
    assert (ours == theirs).all()


@pytest.mark.parametrize("a", [0.5, "uniform"])
def test_a_search_among_many_rules_finds_the_rule_that_comparing_finds(a):
    many = hierarchy.make(**{**DEMO, "levels": 1, "classes": 5, "rules": 4096, "zipf_a": a})
    assert many.rules[0] > hierarchy.MANY_RULES
    thresholds = np.asarray(many.arrays["thresholds0"])
    rng = np.random.default_rng(0)
    edges = np.concatenate([thresholds, thresholds - np.uint32(1), thresholds + np.uint32(1)])
    draws = np.concatenate([rng.integers(2**32, size=5000, dtype=np.uint32), edges, np.uint32([0, 2**32 - 1])])
    found = jax.jit(hierarchy._reached)(many.arrays["thresholds0"], jnp.asarray(draws))
    assert np.array_equal(np.asarray(found), [(thresholds <= draw).sum() for draw in draws])


@given(bits=st.integers(0, 2**32 - 1), bound=st.integers(1, 2**16 - 1))
@settings(max_examples=200, deadline=None)
def test_scaling_bits_is_exact(bits, bound):
    assert int(below(jnp.uint32(bits), bound)) == bits * bound >> 32


@given(count=st.integers(1, 60), bound=st.sampled_from([60, 64, 2**22 + 1, 2**48]), seed=st.integers(0, 2**63))
@settings(max_examples=30, deadline=None)
def test_distinct_integers_are_distinct(count, bound, seed):
    found = grammar.distinct(grammar.generator([seed]), bound, count)
    assert len(set(found.tolist())) == count
    assert found.min() >= 0
    assert found.max() < bound
