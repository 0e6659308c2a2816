"""Recipe `finetune`: its values, what its two gradients and its copies cost, and what a spec and a dry run say."""

from __future__ import annotations

import tomllib
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from scalelaw import compute
from scalelaw.errors import UserError
from scalelaw.launch import speed
from scalelaw.runs import RunTable
from scalelaw.sweep import DataFacts, check_spec, expand, recipes
from scalelaw.sweep.device_memory import memory_per_device
from scalelaw.sweep.remarks import remarks
from scalelaw.sweep.sections import DevicesSection

HEAD = '[sweep]\nname = "t"\n[data]\nsource = "hierarchy"\ntrain_images = 1000\n[model]\nvariants = ["N0"]\n[train]\n'
FINETUNE = HEAD + 'recipe = "finetune"\npeak_lr = 0.1\nbatch_size = 64\n'


def planned(text: str) -> list[Any]:
    return expand(check_spec(tomllib.loads(text), "spec.toml"))


def test_values_are_the_published_ones():
    """Brock et al. 2021, A.4 and A.5; label smoothing is our choice, and so is an ascent on the whole batch."""
    found = recipes.recipe("finetune", "F7+")
    assert (found.weight_decay, found.warmup_steps, found.dropout, found.stochastic_depth) == (1e-5, 5000, 0.25, 0.1)
    assert (found.ema, found.sam_radius, found.sam_share, found.label_smoothing) == (0.9999, 0.05, 1, 0)
    assert found.warmup(15_000, 625.5) == 5000


def test_a_run_overrides_radius_and_share():
    (run,) = planned(FINETUNE + "epochs = 1\nsam_radius = 0.1\nsam_share = 0.25\n")
    rules = recipes.rules_of(run.config)
    assert (rules.sam_radius, rules.sam_share, rules.ascent_stride) == (0.1, 0.25, 4)
    off, on = planned(FINETUNE + "epochs = 1\nsam_radius = [0, 0.05]\n")
    assert recipes.rules_of(off.config).sam_radius == 0
    assert off.cost.train_flop == on.cost.train_flop / 2


# Cost


def test_both_gradients_of_every_step_are_counted():
    """Of 64 rows every fifth is 13, a batch of 2048 has 410: what is computed counts, not what was asked for."""
    plain, whole, fifth = planned(HEAD + "images = 500\npeak_lr = 1\n") + planned(
        FINETUNE + "images = 500\nsam_share = [1, 0.2]\n"
    )
    macs = plain.cost.size.macs_per_image
    assert plain.cost.train_flop == 6 * macs * 500
    assert whole.cost.train_flop == 6 * macs * 500 * 2
    assert fifth.cost.train_flop == 6 * macs * 500 * (1 + 13 / 64)
    assert fifth.cost.core_hours == pytest.approx(compute.core_hours(fifth.cost.train_flop), rel=1e-14)
    third = recipes.Recipe(weight_decay=0, sam_radius=0.05, sam_share=0.33)
    assert [third.passes(size) for size in (3, 4, 2048)] == [4 / 3, 1.5, 1 + 683 / 2048]
    assert recipes.Recipe(weight_decay=0, sam_share=0.2).passes(64) == 1


def test_every_copy_counts_as_an_image():
    """Four copies of an image are four images: as much compute, a quarter of the passes over the training set."""
    once, copies = planned(FINETUNE + "epochs = 2\nrepeats = [1, 4]\n")
    assert copies.cost == once.cost
    assert copies.cost.epochs == 2
    assert (copies.config.train.images, copies.config.train.repeats) == (2000, 4)
    assert copies.run_id != once.run_id


def test_equal_core_hours_buy_as_many_images_as_the_steps_leave():
    plain, whole, half = planned(
        HEAD + 'peak_lr = 1\ncore_hours = 1e-6\nlayout = "iso"\n'
    ) + planned(FINETUNE + "core_hours = 1e-6\nsam_share = [1, 0.5]\n")  # fmt: skip
    images = plain.config.train.images
    assert whole.config.train.images == pytest.approx(images / 2, abs=1)
    assert half.config.train.images == pytest.approx(images / 1.5, abs=1)
    for run in (plain, whole, half):
        assert run.cost.core_hours == pytest.approx(1e-6, rel=1e-3)


def test_ascended_weights_take_memory():
    devices, facts = DevicesSection(count=8, params=4), DataFacts(1000, 224, 10_000)
    off, on = (memory_per_device(run.config, facts, devices)
               for run in planned(FINETUNE.replace("N0", "F0") + "epochs = 1\nsam_radius = [0, 0.05]\n"))  # fmt: skip
    assert (off.ascended, on.ascended) == (0, on.momentum)
    assert on.total == off.total + on.ascended


def test_a_sharpness_aware_row_is_read_without_complaint():
    """Twice the FLOP of multiply-adds x images is right for such steps, and for no others; thrice for none."""
    row = {"status": "finished", "val_loss": 1.0, "macs_per_image": 1e6, "images_seen": 100}

    def said(flop: float, config: str) -> list[str]:
        return list(RunTable.from_frame(pd.DataFrame([{**row, "train_flop": flop, "config": config}])).problems)

    sharp, own = '{"train":{"recipe":"finetune"}}', '{"train":{"sam_radius":0.05}}'
    assert said(1.2e9, sharp) == said(1.2e9, own) == said(0.72e9, own) == said(0.6e9, "{}") == []
    for flop, config in ((1.2e9, "{}"), (1.8e9, sharp), (0.5e9, own)):
        assert "train_flop" in said(flop, config)[0]


def test_speeds_count_an_image_as_often_as_it_is_gone_through():
    """A row of two gradients a step says how fast one of one gradient will be."""
    plain, sharp = planned(HEAD + "epochs = 1\npeak_lr = 1\n") + planned(FINETUNE + "epochs = 1\n")
    done = {"status": "finished", "val_loss": 1.0, "variant": "N0", "batch_size": 64, "images_seen": 1000,
            "macs_per_image": float(sharp.cost.size.macs_per_image), "train_seconds": 8.0,
            "train_flop": sharp.cost.train_flop}  # fmt: skip
    found = speed.expected([plain, sharp], RunTable.from_frame(pd.DataFrame([done])))
    assert found.seconds[sharp.run_id] == pytest.approx(8)
    assert found.seconds[plain.run_id] == pytest.approx(4)


# What a spec and a dry run say


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("sam_share = 0.7\n", r"sam_share: must be 1 over a whole number.* choose 1 or 0.5, not 0.7"),
        ("sam_share = [1, 0.3]\n", r"sam_share, value 2 of 2: .* choose 0.3333 or 0.25, not 0.3"),
        ("sam_share = 0\n", r"sam_share: must be greater than 0"),
        ("sam_share = 0.2\nsam_radius = 0\n", r"sam_share: .* give sam_radius too"),
        ("repeats = [2, 3]\n", r"repeats: a batch of 64 cannot be 3 copies each"),
    ],
)
def test_settings_that_could_not_do_what_they_say_are_refused(lines, words):
    with pytest.raises(UserError, match=rf"\[train\] {words}"):
        planned(FINETUNE + "epochs = 1\n" + lines)


def test_a_warm_up_that_outlasts_a_run_is_said():
    assert remarks(planned(HEAD + "epochs = 1\npeak_lr = 1\n")) == []
    (said,) = remarks(planned(FINETUNE + "epochs = [4, 500, 1000]\nsam_radius = 0\n"))
    assert said.startswith("warm-up takes over half of the steps of 2 of 3 runs: 5,000 of 63 in the shortest")
    assert "peaks in the last step" in said
    (said,) = remarks(planned(FINETUNE + "epochs = [500, 1000]\nsam_radius = 0\n"))
    assert "1 of 2 runs: 5,000 of 7,813 in the shortest; warmup_share" in said


def test_ascents_and_copies_are_said():
    found = remarks(planned(FINETUNE + "epochs = 1\nwarmup_share = 0.1\nsam_share = [1, 0.2]\nrepeats = [1, 2, 4]\n"))
    assert [line.split(";")[0] for line in found] == [
        "sharpness-aware steps go over a batch 1.203 or 2 times", "2 or 4 copies of an image in a batch",
    ]  # fmt: skip
    *_, last = remarks(planned(HEAD + "peak_lr = 1\nepochs = 1\nrepeats = 2\n"))
    assert last.startswith("copies are alike in some runs")


# What the trainer takes from it


def test_the_trainer_counts_gradients_and_feeds_copies(monkeypatch, tmp_path):
    pytest.importorskip("jax", reason="the trainer needs jax")
    from scalelaw.runs import Run
    from scalelaw.sweep import identity
    from scalelaw.train import loop, single

    (plan,) = planned(FINETUNE + "epochs = 2\nrepeats = 4\nsam_share = 0.2\n")
    taken = {}

    def run(schedule: Any, *others: Any) -> loop.Outcome:
        taken["schedule"] = schedule
        return loop.Outcome("finished", None, 2000, {"train": 1.0}, None, {})

    monkeypatch.setattr(loop, "run", run)
    settings = SimpleNamespace(utilisation=0.36, trace_rows=1, keep_final=False)
    row = Run(**identity.of_config(plan.config), **identity.of_cost(plan.cost), hardware="h100", devices=1)
    habits = single.Habits(tmp_path, settings, lambda event: None, 1, False)
    rules = recipes.rules_of(plan.config)
    done, _ = single.trained(row, plan.config, SimpleNamespace(remark=None), rules, None, habits)
    assert taken["schedule"].order.copies == 4
    assert done.train_flop == plan.cost.train_flop == 6 * plan.cost.size.macs_per_image * 2000 * (1 + 13 / 64)
    assert (done.core_hours, done.epochs) == (plan.cost.core_hours, 2)
    meter = taken["schedule"].meter
    assert meter.utilisation(2000) == pytest.approx(
        plan.cost.train_flop / compute.hardware("h100").peak_flop_per_second
    )
