"""Run ids: the same for the same run, for good; another for anything else that decides the outcome."""

import hashlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from scalelaw.sweep import DataConfig, ModelConfig, RunConfig, TrainConfig, identity
from scalelaw.sweep.config import ParentConfig

PLAIN = RunConfig(
    data=DataConfig(source="hierarchy", train_images=32768),
    model=ModelConfig(variant="N0"),
    train=TrainConfig(images=8192, peak_lr=1.6),
)
FULL = RunConfig(
    data=DataConfig(
        source="hierarchy", train_images=1000, holdout_images=500, seed=7, classes=16, symbols=24, levels=3,
        rules=(256, 1, 16), branching=("2x2", "2", "2"), patch=1, zipf_a=(0.5, "uniform", 1.0), noise=0.2,
    ),
    model=ModelConfig(family="nfnet", variant="F7+"),
    train=TrainConfig(
        images=4000, batch_size=32, peak_lr=0.4, seed=3, recipe="pretrain", evaluations=9, weight_decay=1e-6,
        momentum=0.8, clipping=0.02, warmup_share=0.1,
    ),
)  # fmt: skip
ARCHIVE = RunConfig(
    data=DataConfig(source="npz", path="digits.npz", train_images=1438, holdout_images=359, digest="0" * 64),
    model=ModelConfig(variant="N4"),
    train=TrainConfig(images=2876, peak_lr=0.4, batch_size=32),
)
CHILD = PLAIN.model_copy(update={"parent": ParentConfig(run=PLAIN.run_id, path="results/pretrain", epochs=2.0)})


@pytest.mark.parametrize(
    ("config", "run_id"),
    [
        (PLAIN, "bce20283b80b4568"),
        (FULL, "66c725c75240fc78"),
        (ARCHIVE, "21eb0ccaa4628123"),
        (CHILD, "f9cd447615cc259b"),
    ],
)
def test_run_ids_are_fixed_for_good(config, run_id):
    # Results folders name runs by these. If this fails, give the new setting a default that means the old behaviour.
    assert config.run_id == run_id


@pytest.mark.parametrize("config", [PLAIN, FULL, ARCHIVE])
def test_a_rows_configuration_is_what_its_id_hashes(config):
    row = identity.of_config(config)
    assert hashlib.sha256(row["config"].encode()).hexdigest()[:16] == row["run_id"] == config.run_id


def test_dataset_names_are_fixed_for_good():
    names = [config.data.name for config in (PLAIN, FULL, ARCHIVE)]
    assert names == ["hierarchy-817fc733", "hierarchy-e4267ffc", "npz-561dbc64"]


def changed(config, section, **settings):
    part = getattr(config, section)
    return config.model_copy(update={section: type(part).model_validate({**part.model_dump(), **settings})})


def test_where_the_data_lies_is_no_part_of_the_run():
    moved = changed(ARCHIVE, "data", path="/elsewhere/images.npz")
    assert moved.run_id == ARCHIVE.run_id
    assert moved.data.name == ARCHIVE.data.name
    assert identity.of_config(moved) == identity.of_config(ARCHIVE)  # nor of its row
    assert moved.to_json()["data"]["path"] == "/elsewhere/images.npz"  # but is kept, to find it


def test_fields_at_their_defaults_are_no_part_of_the_id():
    spelt_out = RunConfig.model_validate(PLAIN.model_dump())
    assert spelt_out.model_fields_set == {"data", "model", "train", "parent"}
    assert len(spelt_out.train.model_fields_set) > len(PLAIN.train.model_fields_set)
    assert spelt_out.run_id == PLAIN.run_id
    assert changed(PLAIN, "train", weight_decay=0.0).run_id != PLAIN.run_id  # None, the recipe's own, is the default


def test_whole_numbers_stand_for_floats():
    assert changed(PLAIN, "train", peak_lr=2).run_id == changed(PLAIN, "train", peak_lr=2.0).run_id
    assert changed(FULL, "data", zipf_a=[1, "uniform", 0]) == changed(FULL, "data", zipf_a=(1.0, "uniform", 0.0))


@pytest.mark.parametrize("config", [PLAIN, FULL, ARCHIVE])
def test_reading_what_was_written_gives_the_same_run(config):
    read = RunConfig.model_validate(json.loads(json.dumps(config.to_json())))
    assert (read, read.run_id) == (config, config.run_id)


COUNTS, NUMBERS = st.integers(1, 10**6), st.floats(1e-6, 0.9)
DIGESTS = st.text("0123456789abcdef", min_size=64, max_size=64)
OTHER = {
    "data": {
        "train_images": COUNTS, "holdout_images": COUNTS, "seed": COUNTS, "classes": COUNTS, "symbols": COUNTS,
        "levels": COUNTS, "rules": COUNTS | st.tuples(COUNTS, COUNTS),
        "branching": st.sampled_from(["2", "2x2", ("2", "2x2")]), "patch": COUNTS,
        "zipf_a": NUMBERS | st.tuples(NUMBERS, st.just("uniform")), "noise": NUMBERS,
        "digest": DIGESTS, "exclude_digest": DIGESTS, "excluded_images": COUNTS, "source": st.just("npz"),
        "holdout_exclude_digest": DIGESTS, "excluded_holdout_images": COUNTS, "excluded_classes": COUNTS,
        "augment": st.sampled_from(["none", "flip", "crop-flip"]), "resolution": COUNTS, "eval_resolution": COUNTS,
        "crop_area": st.tuples(NUMBERS, NUMBERS), "crop_aspect": st.tuples(NUMBERS, NUMBERS),
        "pixel_mean": st.tuples(NUMBERS, NUMBERS, NUMBERS), "pixel_std": st.tuples(NUMBERS, NUMBERS, NUMBERS),
        "image_key": st.just("jpg"), "label_key": st.just("cls"), "task_seed": COUNTS, "new_levels": COUNTS,
    },
    "model": {"variant": st.sampled_from(["N1", "F0", "F7"]), "family": st.just("another")},
    "train": {
        "images": COUNTS, "batch_size": COUNTS, "peak_lr": NUMBERS, "seed": COUNTS, "evaluations": st.integers(1, 1000),
        "recipe": st.just("imagenet"), "weight_decay": NUMBERS, "momentum": NUMBERS, "clipping": NUMBERS,
        "warmup_share": NUMBERS, "warmup_epochs": NUMBERS, "warmup_steps": COUNTS, "label_smoothing": NUMBERS,
        "dropout": NUMBERS, "stochastic_depth": NUMBERS, "ema": NUMBERS,
        "precision": st.sampled_from(["float32", "bfloat16"]), "sam_radius": NUMBERS,
        "sam_share": st.sampled_from([1.0, 0.5, 0.2]), "repeats": COUNTS,
    },
}  # fmt: skip


def test_every_setting_is_tried_below():
    assert set(OTHER["data"]) == set(DataConfig.model_fields) - DataConfig.NOT_OF_THE_RUN
    assert set(OTHER["model"]) == set(ModelConfig.model_fields)
    assert set(OTHER["train"]) == set(TrainConfig.model_fields)


@given(st.data(), st.sampled_from([PLAIN, FULL, ARCHIVE]), st.sampled_from(sorted(OTHER)))
@settings(deadline=None)
def test_everything_else_changes_the_id(data, config, section):
    name = data.draw(st.sampled_from(sorted(OTHER[section])))
    other = changed(config, section, **{name: data.draw(OTHER[section][name])})
    same = getattr(getattr(other, section), name) == getattr(getattr(config, section), name)
    assert (other.run_id == config.run_id) == same
    size_alone = section != "data" or name == "train_images"
    assert (other.data.name == config.data.name) == (same or size_alone)


@pytest.mark.parametrize(
    ("section", "setting"),
    [
        ("train", {"peak_lr": True}), ("train", {"peak_lr": "1"}), ("train", {"images": 2.0}),
        ("train", {"images": 2**53}),
        ("train", {"seed": -1}), ("train", {"momentum": 1.0}), ("train", {"unknown": 1}), ("data", {"noise": -0.1}),
        ("data", {"zipf_a": False}), ("data", {"rules": (1, True)}), ("train", {"peak_lr": float("nan")}),
    ],
)  # fmt: skip
def test_settings_are_strict(section, setting):
    with pytest.raises(ValidationError):
        changed(PLAIN, section, **setting)


def test_configurations_are_frozen():
    with pytest.raises(ValidationError):
        PLAIN.train.seed = 3
