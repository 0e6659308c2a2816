"""From spec to runs: lengths, costs and facts by arithmetic, equal to what the trainer will find."""

import itertools
import tomllib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scalelaw import architecture, compute
from scalelaw.errors import UserError
from scalelaw.sweep import DataConfig, check_spec, data_facts, describe, expand
from scalelaw.sweep.config import DataSection
from scalelaw.sweep.facts import with_digest

DATA = '[data]\nsource = "hierarchy"\ntrain_images = 1000\n'
HEAD = f'[sweep]\nname = "t"\n{DATA}[model]\nvariants = ["N0", "N2"]\n[train]\n'


def planned(text):
    return expand(check_spec(tomllib.loads(text), "spec.toml"))


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "images.npz"
    np.savez(path, images=np.random.default_rng(0).normal(size=(50, 6, 6)), labels=np.arange(50) % 4)
    return path


def test_epochs_become_images():
    runs = planned(HEAD + "epochs = [0.25, 1, 2.0004]\npeak_lr = 1\n")
    assert [run.config.train.images for run in runs] == [250, 1000, 2000] * 2
    assert [run.cost.epochs for run in runs[:3]] == [0.25, 1, 2]


def test_equal_budgets_cost_the_same_to_half_an_image():
    budgets = [1e-7, 1e-6]
    runs = planned(HEAD + f'layout = "iso"\ncore_hours = {budgets}\npeak_lr = 1\n')
    for run, budget in zip(runs, budgets * 2, strict=True):
        one_image = compute.core_hours(compute.train_flop(run.cost.size.macs_per_image, 1))
        assert abs(run.cost.core_hours - budget) <= one_image / 2
        assert run.cost.epochs == run.config.train.images / 1000
    small, large = (run.config.train.images for run in runs[1::2])
    assert small > 2 * large  # the larger network sees fewer
    twice = HEAD.replace('"t"\n', '"t"\nutilisation = 0.72\n')
    (other,) = planned(twice.replace(', "N2"', "") + "core_hours = 1e-6\npeak_lr = 1\n")
    assert other.config.train.images == pytest.approx(
        2 * small, abs=1
    )  # an hour at twice the speed shows twice as much


def test_costs_by_hand():
    (run,) = planned(HEAD.replace(', "N2"', "") + "images = 500\npeak_lr = 1\n")
    # N0: stem 3 to 4 at 8x8; block 1 (4 -> 4, bottleneck 2) at 8x8; block 2 (4 -> 8, bottleneck 4) at 8x8, then 4x4.
    stem = 64 * 9 * 3 * 4
    first = 64 * (4 * 2 + 9 * 2 * 2 + 9 * 2 * 2 + 2 * 4) + 2 * (4 * 2)
    second = 64 * (4 * 4) + 16 * (4 * 8 + 9 * 4 * 4 + 9 * 4 * 4 + 4 * 8) + 2 * (8 * 4)
    head = 16 * 8 * 16 + 16 * 100
    macs = stem + first + second + head
    assert run.cost.size.macs_per_image == macs == architecture.size(architecture.variant("N0"), 8, 100).macs_per_image
    assert run.cost.train_flop == 6 * macs * 500
    assert run.cost.core_hours == pytest.approx(6 * macs * 500 / (0.36 * 4.95e17), rel=1e-14)
    assert run.cost.epochs == 0.5
    assert run.shape == ("nfnet", "N0", 64, 8, 100)
    half = HEAD.replace('"t"\n', '"t"\nutilisation = 0.72\n').replace(', "N2"', "")
    assert planned(half + "images = 500\npeak_lr = 1\n")[0].cost.core_hours == pytest.approx(run.cost.core_hours / 2)


def test_lists_span_the_whole_grid():
    lists = {"images": [10, 20], "peak_lr": [1.0, 2.0], "batch_size": [8, 16], "seeds": [0, 1],
             "weight_decay": [0.0, 0.1],
             "momentum": [0.8, 0.9], "clipping": [0.01, 0.1], "warmup_share": [0.0, 0.1]}  # fmt: skip
    runs = planned(HEAD + "".join(f"{key} = {values}\n" for key, values in lists.items()))
    assert len(runs) == len({run.run_id for run in runs}) == 2**9
    fields = ["seed" if key == "seeds" else key for key in lists]
    found = {tuple(getattr(run.config.train, name) for name in fields) for run in runs}
    assert found == set(itertools.product(*lists.values()))
    assert planned(HEAD + "images = 10\npeak_lr = 1\n")[0].config.train.weight_decay is None


def test_runs_asked_for_twice_are_planned_once():
    grid = "epochs = [1, 1, 2]\npeak_lr = [1.0, 1.0]\nseeds = [0]\n"
    part = '[[part]]\ntrain.images = [1000, 3000]\nmodel.variants = ["N2", "N2"]\n'
    runs = planned(HEAD + grid + part)
    assert [(run.config.model.variant, run.config.train.images) for run in runs] == [
        ("N0", 1000), ("N0", 2000), ("N2", 1000), ("N2", 2000), ("N2", 3000)]  # fmt: skip


def test_the_sweeps_name_is_no_part_of_its_runs():
    text = HEAD + "epochs = 1\npeak_lr = 1\n"
    assert [run.run_id for run in planned(text)] == [run.run_id for run in planned(text.replace('"t"', '"u"'))]


def test_archives_are_planned_as_they_are(archive):
    text = f'[sweep]\nname = "t"\n[data]\nsource = "npz"\npath = "{archive}"\n[model]\nvariants = "N0"\n[train]\n'
    (run,) = planned(text + "epochs = 2\npeak_lr = 1\n")
    assert (run.config.data.train_images, run.config.data.holdout_images) == (40, 10)
    assert (run.cost.facts.classes, run.cost.facts.resolution, run.config.train.images) == (4, 6, 80)
    assert len(run.config.data.digest) == 64
    assert describe(run.config.data) == f"{archive}: 40 training and 10 held-out images"
    spelt_out = text.replace("[model]", "train_images = 40\nholdout_images = 10\n[model]")
    assert planned(spelt_out + "epochs = 2\npeak_lr = 1\n")[0].run_id == run.run_id
    moved = archive.rename(archive.with_name("moved.npz"))
    assert planned(text.replace(str(archive), str(moved)) + "epochs = 2\npeak_lr = 1\n")[0].run_id == run.run_id
    np.savez(archive, images=np.random.default_rng(1).normal(size=(50, 6, 6)), labels=np.arange(50) % 4)
    assert planned(text + "epochs = 2\npeak_lr = 1\n")[0].run_id != run.run_id


@pytest.mark.parametrize(
    ("content", "settings", "words"),
    [
        ({}, "", "'labels' is missing (the file has images)"),
        ({"labels": np.arange(49)}, "", "'labels' has shape (49,) for (50,) images"),
        ({"labels": np.zeros(50, int)}, "", "two or more classes"),
        ({"labels": np.arange(50) % 4}, "train_images = 41\n", "[data] train_images: "),
    ],
)
def test_planning_says_what_training_would(archive, content, settings, words):
    from scalelaw.train.data import arrays

    np.savez(archive, images=np.ones((50, 6, 6)), **content)
    data = f'[data]\nsource = "npz"\npath = "{archive}"\n{settings}'
    text = f'[sweep]\nname = "t"\n{data}[model]\nvariants = "N0"\n[train]\n'
    with pytest.raises(UserError) as planning:
        planned(text + "epochs = 2\npeak_lr = 1\n")
    with pytest.raises(UserError) as training:
        arrays.make(path=str(archive), train_images=41 if settings else None)
    assert planning.value.messages == tuple(f"spec.toml: {line}" for line in training.value.messages)
    assert words in str(planning.value)


# Facts without jax


@pytest.mark.parametrize(
    ("changes", "resolution"),
    [
        ({}, 8),
        ({"levels": 1, "rules": 4, "patch": 3}, 6),
        ({"levels": 3, "classes": 16, "rules": (256, 1, 16), "patch": 1}, 8),
        ({"branching": "2", "levels": 2, "rules": 4, "classes": 7}, 4),
        ({"branching": ("2", "2x2", "2"), "levels": 3, "rules": 2, "patch": 1}, 4),
    ],
)
def test_facts_of_the_built_in_images_are_the_trainers(changes, resolution):
    from scalelaw.train.data import load

    data = with_digest(DataSection(source="hierarchy", train_images=64, holdout_images=16, **changes))
    facts, source = data_facts(data), load(data)
    assert (facts.classes, facts.resolution, facts.train_images) == (
        source.classes,
        source.resolution,
        source.train_images,
    )
    assert facts.resolution == resolution


LEVELWISE = {
    "rules": st.sampled_from([1, 2, 9]),
    "branching": st.sampled_from(["2", "2x2"]),
    "zipf_a": st.just("uniform"),
}


@st.composite
def hierarchies(draw):
    levels = draw(st.integers(1, 4))
    lengths = st.integers(max(1, levels - 1), levels + 1) | st.just(levels)
    per_level = {name: draw(v | lengths.flatmap(lambda n, v=v: st.tuples(*[v] * n))) for name, v in LEVELWISE.items()}
    return {"levels": levels, "classes": draw(st.sampled_from([1, 2, 5])), "symbols": draw(st.sampled_from([1, 2, 4])),
            "patch": draw(st.sampled_from([1, 2, 1025, 300])), **per_level}  # fmt: skip


@given(hierarchies())
@settings(deadline=None, max_examples=80)
def test_planning_refuses_exactly_what_the_trainer_refuses(changes):
    from scalelaw.train.data import hierarchy

    def keys(make):
        """The settings that are found wrong, or nothing."""
        try:
            return make().resolution, set()
        except UserError as error:
            return None, {line.split(":")[0] for line in error.messages}

    section = DataSection(source="hierarchy", train_images=8, holdout_images=2, **changes)
    ours = keys(lambda: data_facts(with_digest(section)))
    theirs = keys(lambda: hierarchy.make(train_images=8, holdout_images=2, **changes))
    assert ours == theirs


def test_description_of_the_built_in_images():
    data = DataConfig(source="hierarchy", train_images=32768)
    words = "built-in images: 100 classes, 32 symbols, 2 levels; 32,768 training and 4,096 held-out images"
    assert describe(data) == words
