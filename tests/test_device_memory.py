"""Memory of one device before anything is compiled: what it counts, and what a sweep that does not fit is told."""

from __future__ import annotations

import re

import pytest

from scalelaw.errors import UserError
from scalelaw.sweep import DataConfig, DataFacts, ModelConfig, RunConfig, TrainConfig
from scalelaw.sweep.device_memory import board_memory, check_memory, memory_per_device
from scalelaw.sweep.sections import DevicesSection

FACTS = DataFacts(classes=30_000, resolution=224, train_images=4_000_000_000)
PARAMS = 829_551_960 + 29_000 * 4_097  # of F7+, published at 1,000 classes, with a larger head


def run(**train: object) -> RunConfig:
    settings = {"images": 10**9, "peak_lr": 1.6, "batch_size": 4096, "precision": "bfloat16", **train}
    data = DataConfig(source="hierarchy", train_images=10**9)
    return RunConfig(data=data, model=ModelConfig(variant="F7+"), train=TrainConfig(**settings))


def test_state_is_shared_by_the_devices_of_a_copy_and_activations_by_all():
    alone = memory_per_device(run(), FACTS, DevicesSection(count=64))
    shared = memory_per_device(run(), FACTS, DevicesSection(count=64, params=8))
    assert alone.params == alone.momentum == alone.gradients == 4 * PARAMS
    assert shared.momentum == shared.gradients == alone.momentum / 8
    assert shared.params == alone.params / 8 + alone.params  # its part, and in a step the whole once
    assert shared.activations == alone.activations
    assert memory_per_device(run(), FACTS, DevicesSection(count=128)).activations == alone.activations / 2
    assert memory_per_device(run(), FACTS, DevicesSection(count=64, accumulate=4)).activations == alone.activations / 4
    assert memory_per_device(run(), FACTS, DevicesSection(count=64, remat=True)).activations < alone.activations / 4
    assert (
        memory_per_device(run(precision="float32"), FACTS, DevicesSection(count=64)).activations
        == 2 * alone.activations
    )
    assert alone.ema == 0
    assert memory_per_device(run(recipe="imagenet"), FACTS, DevicesSection(count=64)).ema == alone.params


def test_accumulated_parts_hold_their_sum_beside_the_gradients_of_one():
    """As XLA counts what the program takes that adds one more part."""
    alone = memory_per_device(run(), FACTS, DevicesSection(count=64))
    parts = memory_per_device(run(), FACTS, DevicesSection(count=64, accumulate=4))
    assert parts.gradients == 2 * alone.gradients
    assert parts.total - parts.activations == alone.total - alone.activations + alone.gradients


def test_what_does_not_fit_is_refused_with_a_change_that_does():
    devices, limit = DevicesSection(count=64), board_memory("tpu-v4")
    assert limit == 32e9
    with pytest.raises(UserError, match=r"F7\+ with batch 4096 at 224 pixels needs .* tpu-v4 has 32 GB") as told:
        check_memory(run(), FACTS, devices, limit, "tpu-v4")
    change = re.search(r"In \[devices\] set (\w+) = (\w+)$", str(told.value))
    assert change
    assert change[1] == "accumulate"
    check_memory(run(), FACTS, devices.model_copy(update={"accumulate": int(change[2])}), limit, "tpu-v4")
    with pytest.raises(UserError, match="Share it among more devices"):
        check_memory(run(), FACTS, devices, 1e9, "a small device")


SPEC = """
[sweep]
name = "big"
[data]
source = "hierarchy"
train_images = 1000000
patch = 56
[model]
variants = ["F0", "F7+"]
[train]
epochs = 1
peak_lr = 0.1
lr_scaling = "linear"
batch_size = 4096
precision = "bfloat16"
[devices]
hardware = "tpu-v4"
count = 64
"""


def test_dry_run_prints_memory_and_refuses_what_does_not_fit(tmp_path, capsys):
    from scalelaw.cli import main

    spec = tmp_path / "big.toml"
    spec.write_text(SPEC + "accumulate = 2\n")
    with pytest.raises(SystemExit) as ended:
        main(["sweep", str(spec), "--dry-run"])
    assert ended.value.code == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "by arithmetic (64 devices of tpu-v4, batches in 2 parts)" in said
    assert "all 2 " in said
    assert " 1.6 " in said, "the rate of 256 images, times 16"
    spec.write_text(SPEC)
    for more in (["--dry-run"], ["-o", str(tmp_path / "out")]):
        with pytest.raises(SystemExit) as ended:
            main(["sweep", str(spec), *more])
        assert ended.value.code == 2
        assert "F7+ with batch 4096 at 224 pixels needs" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("params = 3", "params: 3 does not divide the 64 devices"),
        ('remat = "yes"', "remat"),
        ("accumulate = 0", "accumulate"),
        ("acumulate = 2", "did you mean 'accumulate'"),
    ],
)
def test_mistakes_in_devices_are_named(tmp_path, capsys, line, told):
    from scalelaw.cli import main

    spec = tmp_path / "big.toml"
    spec.write_text(SPEC + line + "\n")
    with pytest.raises(SystemExit) as ended:
        main(["sweep", str(spec), "--dry-run"])
    assert ended.value.code == 2
    assert told in capsys.readouterr().err


def test_unknown_hardware_in_devices_is_named(tmp_path, capsys):
    from scalelaw.cli import main

    spec = tmp_path / "big.toml"
    spec.write_text(SPEC.replace('"tpu-v4"', '"tpu-v44"'))
    with pytest.raises(SystemExit):
        main(["sweep", str(spec), "--dry-run"])
    assert "[devices] hardware: unknown hardware 'tpu-v44'" in capsys.readouterr().err


def test_a_machine_too_small_for_a_run_fails_it_before_compiling(tmp_path):
    pytest.importorskip("jax", reason="the trainer needs jax")
    from scalelaw.train.capacity import check_capacity
    from scalelaw.train.mesh import Layout

    check_capacity(run(batch_size=8), DataFacts(10, 32, 1000), Layout())
    with pytest.raises(UserError, match="cpu here has"):
        check_capacity(run(batch_size=2**20), FACTS, Layout())
