"""Weights in the published form: there and back, checked against the network, and the published logits."""

from __future__ import annotations

import functools
import json
import pickle
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import published_pickles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_nfnets import find
from test_nfnet import GOLDEN, PUBLISHED, regenerate

from scalelaw.architecture import FAMILIES, variant
from scalelaw.errors import UserError
from scalelaw.train import nfnet, weights

N0 = variant("N0")
F0_BYTES = 285_976_842  # of the published F0_haiku.npz, as the published notebook shows its download


def flat(params: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The published form of nested parameters, by the tests' own hand."""
    named: dict[str, dict[str, Any]] = {}
    for path, (module, name) in nfnet.published_names(params).items():
        named.setdefault(module, {})[name] = np.asarray(functools.reduce(lambda tree, part: tree[part], path, params))
    return {module: dict(sorted(row.items())) for module, row in sorted(named.items())}


def same(left: Any, right: Any) -> bool:
    """Whether two nested dicts hold arrays of equal names, types, shapes and bits."""
    bits = lambda leaf: (leaf.dtype.str, leaf.shape, np.asarray(leaf).tobytes())  # noqa: E731
    return jax.tree.map(bits, left) == jax.tree.map(bits, right)


@pytest.fixture(scope="module")
def params() -> dict[str, Any]:
    drawn = nfnet.init(N0, 10, jax.random.key(0))
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf + 0.5 if path[-1].key in ("bias", "b", "skip_gain") else leaf, drawn
    )


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: Any) -> Path:
    return tmp_path_factory.mktemp("weights") / "file"


def test_round_trip_is_exact_in_every_bit(params: Any, tmp_path: Path) -> None:
    first, second = tmp_path / "new folder" / "first", tmp_path / "second"
    weights.save(first, params)
    loaded = weights.load(first)
    assert (loaded.variant, loaded.classes) == (N0, 10)
    assert same(loaded.params, params)
    weights.save(second, loaded.params)
    assert first.read_bytes() == second.read_bytes()
    # equal types, but each another object, which pickle apart
    weights.save(second, jax.tree.map(lambda leaf: np.array(leaf).view(np.dtype("f4").newbyteorder("<")), params))
    assert first.read_bytes() == second.read_bytes()
    with jax.enable_x64(True):
        double = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64) / 3, params)
    weights.save(second, double)
    assert same(weights.load(second).params, double)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new folder", "second"], "nothing is left aside"


def test_what_is_saved_is_a_plain_pickle(params: Any, scratch: Path) -> None:
    weights.save(scratch, params)
    assert same(pickle.loads(scratch.read_bytes()), flat(params))
    assert scratch.read_bytes()[:2] == b"\x80\x04"


@pytest.mark.parametrize("spelling", ["published", 0, 2, 3, 5])
def test_other_spellings_load_alike(params: Any, scratch: Path, spelling: Any) -> None:
    named = flat(params)
    scratch.write_bytes(published_pickles.dumps(named) if spelling == "published" else pickle.dumps(named, spelling))
    assert same(weights.load(scratch, N0, 10).params, params)


def test_shapes_may_differ_in_dimensions_of_one(params: Any, scratch: Path) -> None:
    named = flat(params)
    block = named["NFNet/~/nf_block"]
    block["skip_gain"] = block["skip_gain"].reshape(1)
    convolution = named["NFNet/~/nf_block/~/conv0"]
    convolution["gain"] = convolution["gain"].reshape(1, 1, 1, -1)
    big = named["NFNet/~/linear"]["w"]
    named["NFNet/~/linear"]["w"] = np.asfortranarray(big.astype(">f4"))
    scratch.write_bytes(pickle.dumps(named))
    assert same(weights.load(scratch).params, params)


def test_the_loaded_network_computes_the_same(params: Any, scratch: Path) -> None:
    weights.save(scratch, params)
    loaded = weights.load(scratch)
    images = jnp.asarray(np.random.default_rng(0).standard_normal((2, 8, 8, 3)), jnp.float32)
    compute = jax.jit(lambda tree: nfnet.apply(loaded.variant, loaded.classes, tree, images))
    np.testing.assert_array_equal(compute(loaded.params), compute(params))


@pytest.mark.parametrize("name", FAMILIES["nfnet"])
def test_every_variant_is_recognised(name: str, monkeypatch: Any, tmp_path: Path) -> None:
    shapes = nfnet.abstract(variant(name), 1000)
    rows: dict[str, dict[str, Any]] = {}
    for path, (module, word) in nfnet.published_names(shapes).items():
        leaf = functools.reduce(lambda tree, part: tree[part], path, shapes)
        rows.setdefault(module, {})[word] = np.broadcast_to(np.float32(0), leaf.shape)  # takes no memory
    monkeypatch.setattr(weights.unpickler, "load", lambda path: rows)
    monkeypatch.setattr(weights, "_checked", lambda array, place: array)
    got = weights.load(tmp_path)
    assert (got.variant.name, got.classes) == (name, 1000)


DIFFERENCES = {
    "missing": (lambda d: d["NFNet/~/nf_block"].pop("skip_gain"), "lacks 'NFNet/~/nf_block' 'skip_gain' of shape ()"),
    "missing module": (lambda d: d.pop("NFNet/~/linear"), "lacks 'NFNet/~/linear' 'b' of shape"),
    "unexpected": (lambda d: d["NFNet/~/linear"].update(a=np.ones(1)), "has 'NFNet/~/linear' 'a', which N0 has not"),
    "shape": (
        lambda d: d["NFNet/~/stem_conv0"].update(w=np.ones((5, 5, 3, 4))),
        "has 'NFNet/~/stem_conv0' 'w' of shape (5, 5, 3, 4), where N0 has (3, 3, 3, 4)",
    ),
    "transposed": (
        lambda d: d["NFNet/~/linear"].update(w=d["NFNet/~/linear"]["w"].T), "of shape (10, 16), where N0 has (16, 10)"
    ),
    "no network": (lambda d: [d.pop(key) for key in list(d)], "has 0 residual blocks of NFNet and 0 features"),
    "too many blocks": (lambda d: d.update({"NFNet/~/nf_block_7": {"w": np.ones(1)}}), "has 3 residual blocks"),
    "deeper": (lambda d: d.update(more={"w": {"x": np.ones(1)}}), "'more' 'w' is no array"),
    "text": (lambda d: d.update(more="x"), "'more' is no dict"),
    "not finite": (
        lambda d: d["NFNet/~/linear"].update(b=np.array([np.nan, np.inf, *range(8)], np.float32)),
        "'NFNet/~/linear' 'b' has 2 values that are not finite",
    ),
    "half": (lambda d: d["NFNet/~/linear"].update(b=np.ones(10, np.float16)), "'b' is of type float16"),
    "integers": (lambda d: d["NFNet/~/linear"].update(b=np.ones(10, np.int32)), "'b' is of type int32"),
    "objects": (lambda d: d["NFNet/~/linear"].update(b=np.array([None] * 10)), "an array of type 'O8'"),
}  # fmt: skip


@pytest.mark.parametrize("name", DIFFERENCES)
def test_the_first_difference_is_named(params: Any, scratch: Path, name: str) -> None:
    change, message = DIFFERENCES[name]
    named = flat(params)
    change(named)
    scratch.write_bytes(pickle.dumps(named))
    with pytest.raises(UserError) as caught:
        weights.load(scratch)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{scratch}: ")
    assert len(caught.value.messages) == 1
    assert str(caught.value).isprintable()


def test_another_network_or_head_than_asked_for(params: Any, scratch: Path) -> None:
    weights.save(scratch, params)
    with pytest.raises(UserError, match="has a head of 10 classes, not 1000"):
        weights.load(scratch, N0, 1000)
    with pytest.raises(UserError) as caught:
        weights.load(scratch, variant("F0"))
    assert "holds N0, not F0: has 'NFNet/~/final_conv' 'bias' of shape (16,), where F0 has (3072,)" in str(caught.value)
    for tree in ([1], "x"):
        scratch.write_bytes(pickle.dumps(tree))
        with pytest.raises(UserError):
            weights.load(scratch)


def test_what_could_not_be_loaded_is_not_saved(params: Any, tmp_path: Path) -> None:
    path = tmp_path / "file"
    weights.save(path, params)
    before = path.read_bytes()
    for leaf, message in (
        (jnp.full((10,), jnp.nan), "not finite"),
        (jnp.ones((10,), jnp.bfloat16), "of type bfloat16"),
    ):
        with pytest.raises(UserError, match=message):
            weights.save(path, params | {"linear": params["linear"] | {"b": leaf}})
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match="cannot be written"):
        weights.save(tmp_path / "folder", params)
    assert path.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


@settings(max_examples=150)
@given(
    st.lists(st.tuples(st.integers(0, 10_000), st.binary(min_size=1, max_size=6)), min_size=1, max_size=6),
    st.booleans(),
)
def test_spoilt_files_are_loaded_or_refused(
    scratch: Path, params: Any, edits: list[tuple[int, bytes]], names: bool
) -> None:
    """Spoilt among the names and structure (the values are elsewhere) or anywhere: whole weights, or a UserError."""
    content = bytearray(published_pickles.dumps(flat(params)))
    for place, put in edits:
        at = place % (700 if names else len(content))
        content[at : at + len(put)] = put
    scratch.write_bytes(content)
    try:
        loaded = weights.load(scratch)
    except UserError:
        return
    assert jax.tree.map(np.shape, loaded.params) == jax.tree.map(np.shape, params)


def check_logits(record: dict[str, Any], network: Any, path: Path) -> None:
    """The record's logits from the weights that its rule gives, by way of a file in the published spelling."""
    with jax.enable_x64(True):
        drawn, _ = regenerate(record, jnp.float64)
        with path.open("wb") as file:
            published_pickles.dump(flat(drawn), file)
        loaded = weights.load(path, network, record["num_classes"])
        assert same(loaded.params, drawn)
        images = jnp.asarray(np.random.RandomState(12345).standard_normal(record["input_shape"]), jnp.float64)
        compute = functools.partial(nfnet.apply, loaded.variant, loaded.classes, dtype=jnp.float64)
        got = jax.jit(compute)(loaded.params, images)
    np.testing.assert_allclose(got, record["logits"], rtol=0, atol=1e-10)


def test_logits_of_a_golden_file(tmp_path: Path) -> None:
    record = json.loads((GOLDEN / "nfnet_tiny.json").read_text())
    check_logits(record, find(record["variant"]), tmp_path / "file")


@pytest.mark.slow
def test_logits_of_the_published_network(tmp_path: Path) -> None:
    record = json.loads((PUBLISHED if PUBLISHED.exists() else GOLDEN / "nfnet_f0.json").read_text())
    check_logits(record, None, tmp_path / "F0_haiku.npz")


def test_the_published_spelling_has_the_published_length() -> None:
    """What is known of the published files is how they are read and how long they are: this spelling is as long."""

    class Counter:
        length = 0

        def write(self, data: Any) -> None:
            self.length += len(data)

    shapes = nfnet.abstract(variant("F0"), 1000)
    counter = Counter()
    published_pickles.dump(flat(jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes)), counter)
    assert counter.length == F0_BYTES
