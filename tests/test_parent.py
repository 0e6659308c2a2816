"""Where a fine-tuned run begins: the parent's body bit for bit, a head of its own, and another network refused."""

import jax
import numpy as np
import pytest

from scalelaw import architecture
from scalelaw.errors import UserError
from scalelaw.train import final, nfnet, parent, weights

N0, N1 = (architecture.variant(name) for name in ("N0", "N1"))


def params_of(variant, classes, seed):
    """Weights in which no parameter is at its start, as after training."""
    rng = np.random.default_rng(seed)
    drawn = nfnet.init(variant, classes, jax.random.key(seed))
    return jax.tree.map(lambda x: np.asarray(x + 0.1 * rng.standard_normal(x.shape), np.float32), drawn)


@pytest.fixture
def pretrained(tmp_path):
    """A run's folder with final weights, a published file of the same, and the weights."""
    params = params_of(N0, 10, 0)
    final.write(tmp_path / "run", final.gathered({"params": params}, params))
    weights.save(tmp_path / "published.npz", params)
    return tmp_path, params


@pytest.mark.parametrize("kind", ["run", "published.npz"])
def test_the_body_is_the_parents_and_the_head_is_not(pretrained, kind):
    place, params = pretrained
    body = parent.of_run(place / kind, N0) if kind == "run" else parent.of_file(place / kind, N0)
    fresh = params_of(N0, 3, 1)
    begun = parent.begun(body, fresh)
    assert jax.tree.structure(begun) == jax.tree.structure(fresh)
    for module, tree in begun.items():
        theirs = fresh[module] if module == "linear" else params[module]
        jax.tree.map(np.testing.assert_array_equal, tree, dict(theirs))
    assert begun["linear"]["w"].shape[-1] == 3


def test_what_the_body_computes_is_what_the_parent_computed(pretrained):
    """With the parent's own head in the place of the fresh one, logits are the parent's."""
    place, params = pretrained
    begun = parent.begun(parent.of_run(place / "run", N0), params)
    images = np.random.default_rng(2).standard_normal((2, 16, 16, 3)).astype(np.float32)
    one, other = (np.asarray(nfnet.apply(N0, 10, tree, images)) for tree in (params, begun))
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("kind", ["run", "published.npz"])
def test_weights_of_another_network_are_refused(pretrained, kind):
    place, _ = pretrained
    with pytest.raises(UserError, match="N1") as caught:
        parent.of_run(place / kind, N1) if kind == "run" else parent.of_file(place / kind, N1)
    assert len(caught.value.messages) == 1


def test_a_run_without_final_weights_is_refused(tmp_path):
    with pytest.raises(UserError, match="only finished runs"):
        parent.of_run(tmp_path / "none", N0)
