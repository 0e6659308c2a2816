"""The optimizer against a direct transcription of the published rule, and the schedule against its formula."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalelaw.sweep.recipes import RECIPES
from scalelaw.train import optimizer as rule
from scalelaw.train.optimizer import measure, optimizer
from scalelaw.train.schedule import learning_rate


def conv(k, i, o):
    return {"w": (k, k, i, o), "gain": (o,), "bias": (o,)}


def block(i, o, project):
    inside = o // 2
    convs = {"conv0": conv(1, i, inside), "conv1": conv(3, inside, inside), "conv1b": conv(3, inside, inside),
             "conv2": conv(1, inside, o)}  # fmt: skip
    if project:
        convs["conv_shortcut"] = conv(1, i, o)
    linears = {"linear": {"w": (o, o // 2), "b": (o // 2,)}, "linear_1": {"w": (o // 2, o), "b": (o,)}}
    return {**convs, "squeeze_excite": linears, "skip_gain": ()}


# N0 with the published names, and one kernel that is a vector but for dimensions of one: a single unit.
SHAPES = {
    "stem_conv0": conv(3, 3, 8), "nf_block": block(8, 8, False), "nf_block_1": block(8, 16, True),
    "final_conv": conv(1, 16, 32), "odd_conv": {"w": (1, 1, 1, 6), "gain": (6,), "bias": (6,)},
    "linear": {"w": (32, 10), "b": (10,)},
}  # fmt: skip


def is_shape(x):
    return isinstance(x, tuple)


def random_tree(seed, scale, dtype):
    """Normal entries; every output channel times its own factor from `scale`, so that some are clipped, some not."""
    rng = np.random.default_rng(seed)

    def leaf(shape):
        channels = shape[-1:] if shape else ()
        return (rng.normal(size=shape) * rng.choice(scale, size=channels)).astype(dtype)

    return jax.tree.map(leaf, SHAPES, is_leaf=is_shape)


def flat(tree):
    return {"/".join(k.key for k in path): leaf for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]}


def norm(x):
    """Brock et al. 2021, section 4: the norm of each output unit; of gains, biases and scalars as a whole."""
    if sum(size > 1 for size in x.shape) <= 1:
        return np.sqrt(np.sum(x * x))
    axes = {2: (0,), 4: (0, 1, 2)}[x.ndim]
    return np.sqrt(np.sum(x * x, axis=axes, keepdims=True))


def published(params, gradients, rates):
    """Parameters after each gradient: clip, decay, Nesterov, in float64; and how many units were clipped each time."""
    buffers = {name: np.zeros_like(p) for name, p in params.items()}
    history, counts = [], []
    for grads, lr in zip(gradients, rates, strict=True):
        after, over, units = {}, 0, 0
        for name, p in params.items():
            g, kind = grads[name], name.split("/")[-1]
            if name != "linear/w":
                limit = 0.01 * np.maximum(norm(p), 1e-3)
                over += np.sum(norm(g) > limit)
                units += np.size(limit)
                g = np.where(norm(g) > limit, g * limit / norm(g), g)
            if kind == "w":
                g = g + 1e-6 * p
            buffers[name] = 0.9 * buffers[name] + g
            after[name] = p - lr * (g + 0.9 * buffers[name])
        params = after
        history.append(params)
        counts.append(over / units)
    return history, counts


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("float64", 1e-12)])
def test_steps_equal_the_published_rule(dtype, tolerance):
    with jax.enable_x64(dtype == "float64"):
        params = random_tree(0, (1.0, 0.0, 0.1), dtype)  # some units are zero: the floor of the norm acts
        gradients = [random_tree(1 + k, (1e-5, 1e-3, 1.0), dtype) for k in range(4)]
        rates = (0.4, 0.8, 1.6, 0.2)
        expected, shares = published(
            {name: p.astype(np.float64) for name, p in flat(params).items()},
            [{name: g.astype(np.float64) for name, g in flat(grads).items()} for grads in gradients],
            rates,
        )
        opt = optimizer(RECIPES["pretrain"])
        state, params = opt.init(params), jax.tree.map(jnp.asarray, params)

        @jax.jit
        def step(params, state, grads, lr):
            numbers = measure(RECIPES["pretrain"], grads, params)
            direction, state = opt.update(grads, state, params)
            return rule.step(params, direction, lr), state, numbers

        for grads, lr, after, share in zip(gradients, rates, expected, shares, strict=True):
            params, state, numbers = step(params, state, grads, lr)
            for name, p in flat(params).items():
                assert p.dtype == dtype
                np.testing.assert_allclose(p, after[name], rtol=tolerance, atol=tolerance, err_msg=name)
            assert 0.2 < share < 0.9  # clipping is active on some units and not on others
            assert float(numbers["clipped_share"]) == pytest.approx(share, abs=1e-6)
            total = math.sqrt(sum(float(np.sum(np.square(g, dtype=np.float64))) for g in flat(grads).values()))
            assert float(numbers["gradient_norm"]) == pytest.approx(total, rel=1e-5)
        assert step._cache_size() == 1  # one executable for every learning rate


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_clipping_is_optax_own(dtype):
    with jax.enable_x64(dtype == "float64"):
        trees = random_tree(0, (1.0, 0.0, 0.1), dtype), random_tree(1, (0.0, 1e-5, 1e-3, 1.0), dtype)
        params, grads = jax.tree.map(jnp.asarray, trees)
        own = rule._clipping(RECIPES["pretrain"])
        theirs = optax.masked(optax.adaptive_grad_clip(0.01, eps=1e-3), rule.clipped)
        found, _ = own.update(grads, own.init(params), params)
        expected, _ = theirs.update(grads, theirs.init(params), params)
        for name, g in flat(expected).items():
            np.testing.assert_allclose(flat(found)[name], g, rtol=1e-6 if dtype == "float32" else 1e-14, err_msg=name)


def test_groups_of_parameters():
    params = random_tree(0, (1.0,), "float32")
    clipped, decayed = flat(rule.clipped(params)), flat(rule.decayed(params))
    assert [name for name, use in clipped.items() if not use] == ["linear/w"]
    assert {name.split("/")[-1] for name, use in decayed.items() if use} == {"w"}
    assert {name.split("/")[-1] for name, use in decayed.items() if not use} == {"gain", "skip_gain", "bias", "b"}
    assert decayed["linear/w"]
    assert clipped["nf_block/squeeze_excite/linear/w"]  # called linear, but no head
    assert decayed["nf_block/squeeze_excite/linear/w"]


def test_what_happens_to_each_group():
    groups = {  # name: clipped?, decayed?
        "linear/w": (False, True), "stem_conv0/w": (True, True), "nf_block/squeeze_excite/linear/w": (True, True),
        "stem_conv0/gain": (True, False), "nf_block/conv0/bias": (True, False), "nf_block/skip_gain": (True, False),
        "linear/b": (True, False),
    }  # fmt: skip
    params = jax.tree.map(np.ones, SHAPES, is_leaf=is_shape)
    opt = optimizer(RECIPES["pretrain"])
    update = jax.jit(lambda grads: flat(opt.update(grads, opt.init(params), params)[0]))
    nothing = update(jax.tree.map(np.zeros_like, params))
    large = update(jax.tree.map(lambda p: 100 * p, params))
    for name, (is_clipped, is_decayed) in groups.items():
        # From rest, Nesterov's direction is 1.9 times the gradient.
        np.testing.assert_allclose(nothing[name], 1.9e-6 if is_decayed else 0, rtol=1e-5, err_msg=name)
        np.testing.assert_allclose(large[name], 1.9 * 0.01 if is_clipped else 190, rtol=1e-3, err_msg=name)


def test_a_tree_without_the_heads_kernel_is_refused():
    params = random_tree(0, (1.0,), "float32")
    params["classifier"] = params.pop("linear")
    opt = optimizer(RECIPES["pretrain"])
    with pytest.raises(ValueError, match="linear/w"):
        opt.update(params, opt.init(params), params)


@given(steps=st.integers(1, 3000), share=st.floats(0, 0.99), peak=st.floats(1e-3, 10))
def test_schedule_rises_then_follows_a_cosine_to_zero(steps, share, peak):
    warmup = int(share * steps)
    rates = learning_rate(np.arange(steps + 1), steps, peak, warmup)
    assert rates[warmup] == pytest.approx(peak)
    assert rates[steps] == pytest.approx(0, abs=1e-12)
    assert (rates[:steps] > 0).all()  # no step is spent on nothing
    np.testing.assert_allclose(np.diff(rates[: warmup + 1]), peak / (warmup + 1), rtol=1e-6)
    assert (np.diff(rates[warmup:]) < 0).all()
    assert rates[warmup:].mean() == pytest.approx(peak / 2)  # a cosine is half its peak on average, ends included


def test_schedule_is_the_same_on_host_and_traced():
    steps = np.arange(200)
    traced = jax.jit(lambda t: learning_rate(t, 200, 1.6, 10))(jnp.asarray(steps))
    np.testing.assert_allclose(traced, learning_rate(steps, 200, 1.6, 10), rtol=2e-6, atol=1e-6)
    assert float(learning_rate(7, 200, 1.6, 10)) == pytest.approx(1.6 * 8 / 11)
