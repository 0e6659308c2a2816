"""The built-in images: a grammar without ambiguity, Zipf's law, bits that depend on seed and index alone."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from scalelaw.errors import UserError
from scalelaw.train.data import grammar, hierarchy, load

PINNED_LABELS, PINNED_PIXEL = [2, 82, 87], 0.3724915385246277
PINNED_GRID = [[8, 28, 16, 15], [20, 8, 13, 4], [21, 1, 8, 12], [19, 11, 30, 30]]
DEMO = {"train_images": 32768, "classes": 100, "symbols": 32, "levels": 2, "rules": 32, "patch": 2, "noise": 0.3}
GRAMMARS = {
    "demo": DEMO,
    "narrow": {**DEMO, "branching": "2", "classes": 30},
    "mixed": {**DEMO, "levels": 3, "branching": ("2", "2x2", "2"), "rules": (5, 7, 9), "zipf_a": (1.0, "uniform", 0.5)},
    "full": {**DEMO, "symbols": 4, "classes": 4, "rules": 64, "levels": 3, "patch": 1},  # every tuple is used
    "alphabets": {**DEMO, "classes": 7, "symbols": (5, 40), "rules": (3, 1200), "zipf_a": 0.5},  # a rule by search
    "wide": {**DEMO, "symbols": 60, "classes": 500, "levels": 1, "patch": 3},  # tuples drawn, not enumerated
}


@pytest.fixture(params=GRAMMARS, scope="module")
def source(request):
    return hierarchy.make(**GRAMMARS[request.param])


def test_every_tuple_of_a_level_belongs_to_one_parent_and_one_rule(source):
    for level, s in enumerate(source.branching):
        tuples = np.asarray(source.arrays[f"rules{level}"]).reshape(-1, s)
        parents = source.classes if level == 0 else source.symbols[level - 1]
        assert len(np.unique(tuples, axis=0)) == len(tuples) == parents * source.rules[level]
        assert tuples.min() >= 0
        assert tuples.max() < source.symbols[level]


def test_first_symbols_of_the_tuples_are_spread_evenly():
    # Sampling without replacement from all tuples leaves each place of the tuple near uniform over the symbols.
    source = hierarchy.make(**DEMO)
    tuples = np.asarray(source.arrays["rules0"]).reshape(-1, 4)
    for place in range(4):
        assert stats.chisquare(np.bincount(tuples[:, place], minlength=32)).pvalue > 1e-4


@pytest.mark.parametrize("a", [0.0, 0.5, 1.0, "uniform"])
def test_rules_follow_zipfs_law(a):
    source = hierarchy.make(**{**DEMO, "zipf_a": a, "seed": 3})
    labels, chosen = jax.jit(source.latents)(source.arrays, jnp.arange(20_000))
    expected = np.arange(1, 33.0) ** -(1 + a) if a != "uniform" else np.ones(32)
    expected /= expected.sum()
    for rows in chosen:
        for place in range(rows.shape[1]):
            counts = np.bincount(np.asarray(rows[:, place]), minlength=32)
            assert counts.sum() == 20_000
            assert stats.chisquare(counts, 20_000 * expected).pvalue > 1e-4
    assert stats.chisquare(np.bincount(np.asarray(labels), minlength=100)).pvalue > 1e-4


def test_class_and_choices_are_independent():
    source = hierarchy.make(**{**DEMO, "classes": 5, "rules": 4})
    labels, chosen = jax.jit(source.latents)(source.arrays, jnp.arange(50_000))
    columns = [labels, *(rows[:, place] for rows in chosen for place in range(rows.shape[1]))]
    for i, one in enumerate(columns):
        for other in columns[:i]:
            table = np.zeros((5, 5))
            np.add.at(table, (np.asarray(one), np.asarray(other)), 1)
            table = table[table.sum(1) > 0][:, table.sum(0) > 0]
            assert stats.chi2_contingency(table).pvalue > 1e-4


def draw(source, indices):
    """Images and labels as NumPy arrays."""
    images, labels = jax.jit(source.batch)(source.arrays, jnp.asarray(np.array(indices, np.int32)))
    return np.asarray(images), np.asarray(labels)


def oracle(source, images):
    """Classes of images, found by going up the grammar: nearest patch, then the only rule that makes each tuple."""
    size, patch = source.resolution, source.patch
    side = size // patch
    pixels = images.reshape(-1, side, patch, side, patch, 3).swapaxes(2, 3)
    patches = np.asarray(source.arrays["patches"])
    distance = ((pixels.reshape(-1, side, side, 1, patch * patch * 3) - patches.reshape(len(patches), -1)) ** 2).sum(-1)
    grid = distance.argmin(-1)
    splits, sideways = [], True
    for s in source.branching:
        splits.append((2, 2) if s == 4 else (1, 2) if sideways else (2, 1))
        sideways = sideways if s == 4 else not sideways
    for level in reversed(range(len(splits))):
        down, across = splits[level]
        _, height, width = grid.shape
        tuples = grid.reshape(-1, height // down, down, width // across, across).swapaxes(2, 3)
        table = np.asarray(source.arrays[f"rules{level}"])
        parent = {tuple(row): p for p, rows in enumerate(table.tolist()) for row in rows}
        flat = [parent[tuple(row)] for row in tuples.reshape(-1, down * across).tolist()]
        grid = np.array(flat).reshape(-1, height // down, width // across)
    return grid[:, 0, 0]


def test_an_oracle_that_inverts_the_rules_is_always_right(source):
    clean = hierarchy.make(**{**settings_of(source), "noise": 0.0})
    images, labels = draw(clean, range(300))
    assert (oracle(clean, images) == labels).all()
    assert len(np.unique(labels)) > 1


def test_the_noise_leaves_most_images_legible():
    source = hierarchy.make(**DEMO)
    images, labels = draw(source, range(300))
    clean = hierarchy.make(**{**DEMO, "noise": 0.0})
    same, same_labels = draw(clean, range(300))
    assert (labels == same_labels).all()  # noise takes no draw away from the choices
    noise = (images - same).ravel()
    assert noise.std() == pytest.approx(0.3, rel=0.01)
    assert stats.kstest(noise / 0.3, "norm").pvalue > 1e-4
    by_image = noise.reshape(300, -1)
    largest = np.abs(np.corrcoef(by_image) - np.eye(300)).max()
    assert largest < 6 / math.sqrt(by_image.shape[1])  # 45,000 pairs: 6 standard errors
    assert np.mean(oracle(source, images) == labels) > 0.95


def test_patches_are_distinct_and_of_unit_variance(source):
    patches = np.asarray(source.arrays["patches"], np.float64)
    assert len(np.unique(patches.reshape(len(patches), -1), axis=0)) == source.symbols[-1]
    assert patches.mean() == pytest.approx(0, abs=1e-6)
    assert patches.std() == pytest.approx(1, abs=1e-6)


def test_an_image_depends_on_seed_and_index_alone(source):
    indices = np.array([5, 0, 2**30 + 7, 5, 31, 1000, 2**30 - 1], np.int32)
    batch = jax.jit(source.batch)

    def draw_from(other, indices):  # sources of one signature share one compiled function
        assert other.signature == source.signature
        return [np.asarray(array) for array in batch(other.arrays, jnp.asarray(indices))]

    images, labels = draw_from(source, indices)
    assert (images[0] == images[3]).all()
    assert images.shape == (7, source.resolution, source.resolution, 3)
    assert images.dtype == np.float32
    assert labels.dtype == np.int32
    again, again_labels = draw_from(hierarchy.make(**settings_of(source)), indices[::-1])  # another order
    assert (again[::-1] == images).all()
    assert (again_labels[::-1] == labels).all()
    alone = jax.jit(lambda arrays, i: (source.batch(arrays, i)[0], source.batch(arrays, i)[0] * 3))
    assert (np.asarray(alone(source.arrays, indices[2:3])[0][0]) == images[2]).all()  # fused into other work
    assert not np.array_equal(draw_from(hierarchy.make(**{**settings_of(source), "seed": 1}), indices)[0], images)


@pytest.mark.slow
def test_an_image_is_the_same_without_jit():
    source, indices = hierarchy.make(**{**DEMO, "levels": 1, "patch": 1}), np.arange(40, dtype=np.int32)
    with jax.disable_jit():
        images, labels = source.batch(source.arrays, jnp.asarray(indices))
    jitted, jitted_labels = draw(source, indices)
    assert (np.asarray(images) == jitted).all()
    assert (np.asarray(labels) == jitted_labels).all()


def test_seeds_keep_what_they_mean():
    # Finished runs are named by their configs: if these numbers change, every recorded result loses its data.
    source = hierarchy.make(**DEMO)
    images, labels = draw(source, [0, 1, 2**30])
    grid, _ = jax.jit(source.leaves)(source.arrays, jnp.asarray([0, 1, 2**30]))
    assert labels.tolist() == PINNED_LABELS
    assert np.asarray(grid[0]).tolist() == PINNED_GRID
    assert float(images[2, 3, 4, 1]) == pytest.approx(PINNED_PIXEL, abs=1e-6)


def test_splits_never_share_an_index(source):
    held = source.holdout_indices()
    assert held.dtype == np.int32
    assert len(np.unique(held)) == source.holdout_images
    assert held.min() >= source.holdout_start >= source.train_images
    most = hierarchy.make(**{**settings_of(source), "train_images": 2**30, "holdout_images": 2**30})
    assert most.train_images - 1 < most.holdout_start
    assert most.holdout_start + most.holdout_images - 1 == np.iinfo(np.int32).max


def test_held_out_images_are_the_same_for_any_training_set():
    small, large = (hierarchy.make(**{**DEMO, "train_images": n}) for n in (100, 10**6))
    assert np.array_equal(small.holdout_indices(), large.holdout_indices())
    assert small.signature == large.signature


def test_share_of_latent_twins_equals_a_brute_force_count():
    config = {**DEMO, "classes": 3, "symbols": 4, "rules": (2, 5), "train_images": 500, "holdout_images": 300}
    source = hierarchy.make(**config)

    def latents(indices):
        labels, chosen = jax.jit(source.latents)(source.arrays, jnp.asarray(indices))
        return [tuple(row) for row in np.column_stack([labels, *chosen]).tolist()]

    train = latents(np.arange(500))
    twins = [any(held == seen for seen in train) for held in latents(source.holdout_indices())]
    assert 0.02 < np.mean(twins) < 0.98
    assert source.describe()["holdout_twin_share"] == np.mean(twins)


@pytest.mark.parametrize(("classes", "branching", "rules"), [(100, "2x2", 32), (100, "2", (10, 32))])
def test_share_of_latent_twins_is_what_the_rule_probabilities_say(classes, branching, rules):
    # P(no twin | choices) = (1 - P(choices))^n; the mean over choices, drawn here with NumPy alone.
    source = hierarchy.make(**{**DEMO, "branching": branching, "rules": rules, "classes": classes})
    rng = np.random.default_rng(0)
    chance = np.full(100_000, 1 / classes)
    for parents, m in zip(grammar.parents(source.branching), source.rules, strict=True):
        p = np.arange(1.0, m + 1) ** -1
        p /= p.sum()
        chance *= p[rng.choice(m, p=p, size=(100_000, parents))].prod(axis=1)
    expected = np.mean(-np.expm1(32768 * np.log1p(-chance)))
    share = source.describe()["holdout_twin_share"]
    assert share == pytest.approx(expected, abs=4 * math.sqrt(expected / 4096))
    assert share < 0.01 if branching == "2x2" else share > 0.1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"train_images": None}, ["train_images", "how many"]),
        ({"train_images": 0, "noise": -1.0, "patch": 1.5}, ["train_images", "noise", "patch"]),
        ({"classes": True}, ["classes"]),
        ({"symbols": (32, 32, 32)}, ["symbols", "3 values for 2 levels"]),
        ({"symbols": (32, 1)}, ["symbols", "from 2 to 4096, not 1"]),
        ({"symbols": (16, 4), "rules": 20}, ["level 2", "16 x 20", "at most 16 rules"]),
        ({"seed": -1}, ["seed"]),
        ({"noise": math.nan}, ["noise"]),
        ({"rules": (4, 5, 6)}, ["rules", "3 values for 2 levels"]),
        ({"rules": 0, "branching": "3", "zipf_a": -0.1}, ["rules", "branching", "zipf_a"]),
        ({"zipf_a": "steep"}, ["zipf_a", "uniform"]),
        ({"zipf_a": (1.0, math.inf)}, ["zipf_a"]),
        ({"branching": "2"}, ["level 1", "100 x 32", "at most 10 rules"]),
        ({"branching": ("2x2", "2"), "rules": (32, 33)}, ["level 2", "at most 32 rules", "not square"]),
        ({"symbols": 3, "rules": 1}, ["level 1", "more symbols"]),
        ({"levels": 10}, ["2048 x 2048", "fewer levels"]),
        ({"classes": 60000, "rules": (1000, 2), "symbols": 4096}, ["level 1", "at most 279 rules"]),
    ],
)
def test_impossible_settings_are_named_with_their_mend(change, words):
    with pytest.raises(UserError) as caught:
        hierarchy.make(**{**DEMO, **change})
    text = str(caught.value)
    assert all(word in text for word in words), text
    assert all(message.startswith("[data] ") for message in caught.value.messages)


def test_load_dispatches_on_the_source():
    class Config:
        source, path, seed = "hierarchy", None, 4
        train_images, holdout_images, classes, symbols, levels, rules, patch = 50, 20, 6, 8, 1, 2, 3
        branching, zipf_a, noise = "2x2", "uniform", 0.1

    source = load(Config())
    assert (source.classes, source.resolution, source.train_images, source.holdout_images) == (6, 6, 50, 20)
    facts = source.describe()
    assert facts["zipf_a"] == ["uniform"]
    Config.source = "heirarchy"
    with pytest.raises(UserError, match="did you mean 'hierarchy'"):
        load(Config())


def settings_of(source):
    """The arguments that make `source` again."""
    words = {2: "2", 4: "2x2"}
    return {
        "train_images": source.train_images, "holdout_images": source.holdout_images, "seed": source.seed,
        "classes": source.classes, "symbols": source.symbols, "levels": len(source.rules), "rules": source.rules,
        "branching": tuple(words[s] for s in source.branching), "patch": source.patch, "noise": source.noise,
        "zipf_a": tuple("uniform" if a is None else a for a in source.zipf_a),
    }  # fmt: skip
