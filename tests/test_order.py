"""The order of examples: every epoch shows every image once, whatever the batch size and however the run is cut."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from scalelaw.errors import UserError
from scalelaw.train.data.order import Order, permutation

PINNED = [1, 2, 3, 7, 0, 9, 4, 5, 6, 8]
sizes = st.integers(1, 40)


def examples(order, steps=None):
    """All examples of weight 1 in the order in which a run sees them."""
    batches = [order.batch(step) for step in (range(order.steps) if steps is None else steps)]
    return np.concatenate([indices[weights == 1] for indices, weights in batches])


@given(seed=st.integers(0, 2**70), n=sizes, images=st.integers(1, 300), batch_size=st.integers(1, 100))
@settings(max_examples=200, deadline=None)
def test_example_k_is_perm_of_its_epoch(seed, n, images, batch_size):
    order = Order(seed, n, images, batch_size)
    seen = examples(order)
    assert len(seen) == images
    epochs = [permutation(seed, epoch, n) for epoch in range(-(-images // n))]
    assert seen.tolist() == [epochs[k // n][k % n] for k in range(images)]
    for epoch in range(images // n):
        assert sorted(seen[epoch * n : (epoch + 1) * n]) == list(range(n))
    rest = seen[images // n * n :]
    assert len(set(rest.tolist())) == len(rest)


@given(n=sizes, images=st.integers(1, 300), batch_size=st.integers(1, 100))
@settings(max_examples=100, deadline=None)
def test_only_the_last_batch_is_short_and_its_padding_weighs_nothing(n, images, batch_size):
    order = Order(0, n, images, batch_size)
    weights = np.stack([order.batch(step)[1] for step in range(order.steps)])
    indices = np.stack([order.batch(step)[0] for step in range(order.steps)])
    assert (weights[:-1] == 1).all()
    assert weights.dtype == np.float32
    assert indices.dtype == np.int32
    assert weights.sum() == images
    last = images - (order.steps - 1) * batch_size
    assert 1 <= last <= batch_size
    assert weights[-1].tolist() == [1.0] * last + [0.0] * (batch_size - last)
    assert indices.min() >= 0  # padding, too, is a valid index
    assert indices.max() < n


@given(n=sizes, images=st.integers(1, 200), batch_size=st.integers(1, 30), data=st.data())
@settings(max_examples=50, deadline=None)
def test_a_step_does_not_depend_on_the_steps_before_it(n, images, batch_size, data):
    order = Order(1, n, images, batch_size)
    step = data.draw(st.integers(0, order.steps - 1))
    fresh = Order(1, n, images, batch_size).batch(step)
    examples(order)
    for one, other in zip(fresh, order.batch(step), strict=True):
        assert np.array_equal(one, other)


@given(n=sizes, images=st.integers(1, 200), one=st.integers(1, 70), other=st.integers(1, 70))
@settings(max_examples=50, deadline=None)
def test_the_order_does_not_depend_on_the_batch_size(n, images, one, other):
    assert np.array_equal(examples(Order(2, n, images, one)), examples(Order(2, n, images, other)))


def test_a_shorter_run_is_a_prefix_of_a_longer_one():
    quarter, four = Order(5, 32, round(0.25 * 32), 8), Order(5, 32, 4 * 32, 8)
    assert np.array_equal(examples(quarter), examples(four)[:8])


def test_runs_and_epochs_are_ordered_differently():
    orders = {permutation(seed, epoch, 100).tobytes() for seed in range(20) for epoch in range(20)}
    assert len(orders) == 400


def test_every_image_comes_at_every_place_equally_often():

    places = np.zeros((8, 8))
    for seed in range(4000):
        places[np.arange(8), permutation(seed, 0, 8)] += 1
    # Rows and columns sum to 4000, so 7 x 7 of the 64 cells are free.
    assert stats.chi2.sf(((places - 500) ** 2 / 500).sum(), 49) > 1e-4


def test_permutations_are_kept_for_good():
    # Runs are named by their seeds: if these change, a finished run can no longer be repeated.
    assert permutation(0, 0, 10).tolist() == PINNED
    assert sorted(PINNED) == list(range(10))


def test_steps_outside_the_run_are_refused():
    order = Order(0, 10, 25, 8)
    assert order.steps == 4
    for step in (-1, 4):
        with pytest.raises(IndexError, match="run of 4 steps"):
            order.batch(step)


def test_sizes_that_are_not_positive_are_refused_together():
    with pytest.raises(UserError) as caught:
        Order(-1, 0, 0, 0)
    assert [message.split(":")[0] for message in caught.value.messages] == [
        "train_images",
        "images_seen",
        "batch_size",
        "seed",
    ]


@given(seed=st.integers(0, 99), n=sizes, passes=st.integers(1, 4), copies=st.integers(1, 5), each=st.integers(1, 9))
@settings(max_examples=100, deadline=None)
def test_copies_stand_together_and_every_one_is_augmented_anew(seed, n, passes, copies, each):
    order = Order(seed, n, copies * n * passes, copies * each, copies)
    seen, epochs = examples(order), np.concatenate([order.epochs(step) for step in range(order.steps)])[: order.images]
    alone = examples(Order(seed, n, n * passes, each))
    assert seen.tolist() == np.repeat(alone, copies).tolist()
    pairs = set(zip(seen.tolist(), epochs.tolist(), strict=True))
    assert pairs == {(image, epoch) for image in range(n) for epoch in range(copies * passes)}


def test_a_short_run_shows_some_images_in_fewer_copies():
    order = Order(0, 10, 7, 4, 2)
    assert examples(order).tolist() == np.repeat(permutation(0, 0, 10)[:4], 2)[:7].tolist()


def test_a_batch_that_would_part_copies_is_refused():
    with pytest.raises(UserError, match="use a multiple of 4"):
        Order(0, 10, 40, 6, 4)
