"""What a spec can say beyond a grid: zips, chains, lists of any setting, exclusions, priorities."""

from __future__ import annotations

import itertools
import tomllib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scalelaw.errors import UserError
from scalelaw.sweep import check_spec, expand
from scalelaw.sweep.config import DataSection
from scalelaw.sweep.grids import LISTS
from scalelaw.sweep.sections import TrainSection

HEAD = """[sweep]
name = "t"
[data]
source = "hierarchy"
train_images = 1000
"""
MODEL = '[model]\nvariants = ["N0", "N1"]\n'
TRAIN = "[train]\nepochs = [1, 2]\npeak_lr = [0.5, 1.0]\n"
FIELDS = {"variants": lambda run: run.config.model.variant, "epochs": lambda run: run.cost.epochs,
          "lr": lambda run: run.config.train.peak_lr, "batch": lambda run: run.config.train.batch_size,
          "seed": lambda run: run.config.train.seed, "train_images": lambda run: run.config.data.train_images,
          "noise": lambda run: run.config.data.noise, "rules": lambda run: run.config.data.rules,
          "evaluations": lambda run: run.config.train.evaluations}  # fmt: skip


def planned(text):
    return expand(check_spec(tomllib.loads(text), "spec.toml"))


def told(text, *names):
    """The runs of a spec, each by some of its settings."""
    return [tuple(FIELDS[name](run) for name in names) for run in planned(text)]


def refused(text):
    with pytest.raises(UserError) as caught:
        planned(text)
    return [line.removeprefix("spec.toml: ") for line in caught.value.messages]


# Grids


def test_lists_of_data_settings_span_the_grid():
    data = HEAD.replace("1000", "[1000, 500]") + "noise = [0.1, 0.3]\nseed = [1, 2]\nrules = [[8, 4], [4, 4]]\n"
    text = data + 'classes = 4\n[model]\nvariants = "N0"\n[train]\nepochs = 1\npeak_lr = 1\nevaluations = [1, 2]\n'
    found = told(text, "train_images", "noise", "rules", "evaluations")
    assert set(found) == set(itertools.product((1000, 500), (0.1, 0.3), ((8, 4), (4, 4)), (1, 2)))
    assert len(found) == 2 * 2 * 2 * 2 * 2
    assert len({run.run_id for run in planned(text)}) == 32
    assert {run.cost.epochs for run in planned(text)} == {1}  # of each set's own images


def test_lists_that_belong_to_a_data_setting_are_still_one_value():
    text = HEAD + "classes = 4\nrules = [8, 4]\n" + MODEL + TRAIN
    assert set(told(text, "rules")) == {((8, 4),)}
    annotated = {name for name, field in DataSection.model_fields.items() if "tuple" in str(field.annotation)}
    assert set(LISTS) == annotated


@pytest.mark.parametrize(
    ("text", "rates"),
    [
        ("around 1.6 by factors of 2, 3 points", (0.8, 1.6, 3.2)),
        ("around 1.6", (0.8, 1.6, 3.2)),
        ("around 1e-1 by factors of 10, 2 points", (0.01, 0.1)),
        ("around 3, 1 point", (3,)),
    ],
)
def test_learning_rates_in_a_sentence(text, rates):
    spec = check_spec(tomllib.loads(HEAD + MODEL + f'[train]\nepochs = 1\npeak_lr = "{text}"\n'), "spec.toml")
    np.testing.assert_allclose(spec.grids[0].train.peak_lr, rates, rtol=1e-15)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("around", "must read \"around 1.6 by factors of 2, 3 points\", not 'around'"),
        ("around x by factors of 2", 'must read "around 1.6 by factors of 2, 3 points", not'),
        ("around 1.6 by factors of 1, 3 points", ".factor: must be greater than 1, not 1.0"),
        ("around -1.6", ".around: must be greater than 0, not -1.6"),
        ("around 1.6, 0 points", ".points: must be greater than 0, not 0"),
    ],
)
def test_a_sentence_that_is_none_says_how_it_reads(text, words):
    (line,) = refused(HEAD + MODEL + f'[train]\nepochs = 1\npeak_lr = "{text}"\n')
    assert line.startswith("[train] peak_lr" + words if words.startswith(".") else f"[train] peak_lr: {words}")


# Zips and chains


def test_a_zip_varies_settings_together():
    text = HEAD + "[train]\nepochs = [1, 2]\n[[zip]]\nmodel.variants = ['N0', 'N1']\ntrain.peak_lr = [2.0, 1.0]\n"
    assert told(text, "variants", "epochs", "lr") == [("N0", 1, 2), ("N0", 2, 2), ("N1", 1, 1), ("N1", 2, 1)]


def test_rows_of_a_zip_are_what_the_setting_may_be():
    """A list, a grid of rates, a list of one per level: a row is a value as the section would have it."""
    text = (
        HEAD
        + """classes = 4
[model]
variants = "N0"
[train]
[[zip]]
train.epochs = [[1, 2], 4]
train.peak_lr = ["around 2, 2 points", { around = 1, points = 1 }]
data.rules = [[8, 4], 4]
"""
    )
    assert told(text, "epochs", "lr", "rules") == [(1, 1, (8, 4)), (1, 2, (8, 4)), (2, 1, (8, 4)), (2, 2, (8, 4)),
                                                   (4, 1, 4)]  # fmt: skip


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 3)), min_size=1, max_size=4), st.integers(1, 3))
@settings(max_examples=25, deadline=None)
def test_a_zip_is_the_chain_of_its_rows(rows, seeds):
    """One zip of n rows and n parts say the same runs, in the same order."""
    start = HEAD + '[model]\nvariants = ["N0", "N1"]\n'
    rest = f"peak_lr = 1\nseeds = {list(range(seeds))}\n"
    images, noise = [n for n, _ in rows], [k / 10 for _, k in rows]
    zipped = planned(start + f"[train]\n{rest}[[zip]]\ntrain.images = {images}\ndata.noise = {noise}\n")
    chained = planned(
        HEAD + f"noise = {noise[0]}\n" + f'[model]\nvariants = ["N0", "N1"]\n[train]\nimages = {images[0]}\n{rest}'
        + "".join(f"[[part]]\ntrain.images = {n}\ndata.noise = {k}\n" for n, k in zip(images, noise, strict=True))
    )  # fmt: skip
    assert [run.run_id for run in zipped] == [run.run_id for run in chained]


def test_two_zips_multiply():
    text = HEAD + "[train]\nepochs = 1\n[[zip]]\nmodel.variants = ['N0', 'N1']\ntrain.peak_lr = [2, 1]\n"
    text += "[[zip]]\ntrain.seeds = [5, 6]\ntrain.batch_size = [8, 16]\n"
    assert told(text, "variants", "lr", "seed", "batch") == [
        (*a, *b) for a in (("N0", 2), ("N1", 1)) for b in ((5, 8), (6, 16))
    ]


def test_a_part_changes_what_it_names_of_a_zip_and_leaves_the_rest_together():
    text = HEAD + MODEL.replace('["N0", "N1"]', '"N0"') + "[train]\n[[zip]]\ntrain.epochs = [1, 2]\n"
    text += "train.peak_lr = [2, 1]\ntrain.seeds = [5, 6]\n[[part]]\ntrain.images = 7\n"
    text += "[[part]]\nzip = [{ train.epochs = [3, 4], train.batch_size = [8, 16] }]\n"
    found = told(text, "epochs", "lr", "seed", "batch")
    assert found == [(1, 2, 5, 64), (2, 1, 6, 64), (0.007, 2, 5, 64), (0.007, 1, 6, 64),
                     (3, 2, 5, 8), (4, 2, 5, 16), (3, 1, 6, 8), (4, 1, 6, 16)]  # fmt: skip


@pytest.mark.parametrize(
    ("tail", "lines"),
    [
        (TRAIN + "[[zip]]\ntrain.seeds = [1, 2]\nmodel.family = ['nfnet']\n",
         ["zip: settings that vary together need lists of equal length; model.family has 1, train.seeds has 2 values"]),
        (TRAIN + "[[zip]]\ntrain.seeds = 1\n", ["zip: train.seeds must be a list, a value for each run or grid"]),
        (TRAIN + "[[zip]]\ntrain.epochs = [1, 2]\n", ["zip: train.epochs is given in [train] too; keep one"]),
        (TRAIN + "[[zip]]\ntrain.seeds = [1]\n[[zip]]\ntrain.seeds = [2]\n",
         ["zip: train.seeds is given in a zip above too; keep one"]),
        (TRAIN + "[[zip]]\nseeds = [1, 2]\n", ["zip: seeds is no section with keys; write model.variants = [...]"]),
        (TRAIN + "[[zip]]\ntrain.seeds = [1, -2]\ntrain.momentum = [0.8, 0.9]\n",
         ["[train] seeds, value 2 of 2: must be at least 0, not -2"]),
        (TRAIN + "[[zip]]\ntrain.sees = [1, 2]\n", ["[train] sees: unknown key; did you mean 'seeds'?"]),
        ("zip = 3\n" + TRAIN, ["[model] zip: unknown key"]),
        (TRAIN + "[zip]\ntrain.seeds = [1, 2]\n", ["zip must be written [[zip]], once for each group of settings"]),
    ],
)  # fmt: skip
def test_a_zip_that_cannot_be_is_said(tail, lines):
    found = refused(HEAD + MODEL + tail)
    assert len(found) == len(lines), found
    assert all(said.startswith(line) for said, line in zip(found, lines, strict=True)), found


def test_a_bad_value_in_a_list_of_data_is_counted():
    text = HEAD + "noise = [0.1, -1, 0.2, 'a']\nseed = []\n" + MODEL + TRAIN
    assert refused(text) == [
        "[data] seed: is an empty list, so the grid is empty; give at least one value",
        "[data] noise, value 2 of 4: must be at least 0, not -1",
        "[data] noise, value 4 of 4: must be a number, not 'a'",
    ]


# Exclusions and priorities


def test_excluded_runs_are_left_out():
    base = HEAD + MODEL + TRAIN
    everything = told(base, "variants", "epochs", "lr")
    text = base + "[[exclude]]\nmodel.variants = 'N1'\ntrain.epochs = [2, 1]\ntrain.peak_lr = 'around 0.5, 1 point'\n"
    assert told(text, "variants", "epochs", "lr") == [run for run in everything if (run[0], run[2]) != ("N1", 0.5)]
    part = base + "[[part]]\ntrain.seeds = 3\n[[part.exclude]]\ntrain.epochs = 1\n"
    assert told(part, "epochs", "seed")[8:] == [(2, 3)] * 4


def test_a_length_is_matched_in_every_unit():
    base = HEAD + '[model]\nvariants = "N0"\n[train]\nepochs = [0.1, 0.3]\npeak_lr = 1\n'
    hours = planned(base)[1].cost.core_hours
    for key, value in (("epochs", 0.3), ("images", 300), ("core_hours", hours)):
        assert told(base + f"[[exclude]]\ntrain.{key} = {value!r}\n", "epochs") == [(0.1,)]


@pytest.mark.parametrize(
    ("table", "line"),
    [
        ("[[exclude]]\nmodel.variants = ['N1', 'N3']\n", 'exclude: no run has model.variants = "N3"; mend it or leave'),
        ("[[exclude]]\ntrain.epochs = 1\ntrain.recipe = 'imagenet'\n", 'exclude: no run has train.recipe = "imagenet"'),
        ("[[exclude]]\ntrain.seed = 0\n", "exclude: unknown setting train.seed; did you mean 'seeds'?"),
        ("[[exclude]]\nvariants = 0\n", "exclude: unknown 'variants' (known: data, model, train, parent)"),
        ("[[exclude]]\n", 'exclude: names no setting; write one, as model.variants = ["F7"]'),
        ("[[exclude]]\ntrain.seeds = 0\n", "every run is excluded; leave one in"),
        ("[[first]]\ntrain.seeds = 1\n", "first: no run has train.seeds = 1; mend it or leave it out"),
        ("[[first]]\ntrain.seeds = 0\npriority = 1.5\n", "first: priority must be a whole number, not 1.5"),
        ("[[part]]\ntrain.seeds = 1\npriority = 'a'\n", "part 1: priority: must be a whole number, not 'a'"),
    ],
)
def test_a_table_that_matches_nothing_is_a_mistake(table, line):
    (found,) = refused(HEAD + MODEL + TRAIN + table)
    assert found.startswith(line)


def test_values_that_no_run_has_together_are_a_mistake():
    text = HEAD + MODEL + TRAIN + "[[part]]\ntrain.seeds = 1\nmodel.variants = 'N3'\n"
    (found,) = refused(text + "[[exclude]]\nmodel.variants = 'N3'\ntrain.seeds = 0\n")
    assert found == "exclude: no run has all of these; mend it or leave it out"


def test_priorities_of_parts_and_of_tables():
    text = "priority = -1\n" + HEAD + MODEL + TRAIN + "seeds = [0, 1]\n[[part]]\ntrain.epochs = [2, 3]\npriority = 2\n"
    text += "[[first]]\nmodel.variants = 'N1'\ntrain.seeds = 0\n[[first]]\ntrain.epochs = 3\npriority = 7\n"
    for run in planned(text):
        epochs, nth = run.cost.epochs, (run.config.model.variant, run.config.train.seed)
        wanted = 7 if epochs == 3 else 1 if nth == ("N1", 0) else 2 if epochs == 2 else -1
        assert run.priority == wanted
    plain = HEAD + MODEL + TRAIN
    assert {run.priority for run in planned(plain)} == {0}
    assert [run.run_id for run in planned(plain)] == [run.run_id for run in planned("priority = 3\n" + plain)]


def test_every_setting_of_a_run_may_be_a_list():
    alone = {"layout"}  # which says how the grid came about, and nothing of a run
    assert all(
        "tuple" in str(field.annotation) for name, field in TrainSection.model_fields.items() if name not in alone
    )
