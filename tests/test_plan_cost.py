"""What a budget buys and what a run costs: hours, dollars and memory against arithmetic by hand and jax's own count."""

import json
import math

import jax
import jax.numpy as jnp
import pandas as pd
import pytest
from test_frontiers import demo

from scalelaw import architecture, compute
from scalelaw.compute import Budget
from scalelaw.errors import UserError
from scalelaw.plan import candidates
from scalelaw.plan.budget import extrapolation, measured_utilisation, target_flop
from scalelaw.plan.cost import cost_of
from scalelaw.plan.models import Candidate, Setting, setting_of
from scalelaw.runs import RunTable
from scalelaw.train import nfnet

F0 = Candidate("F0", 71_489_284, 9.487e9)
IMAGENET = Setting("nfnet", 224, 1000)


@pytest.fixture(scope="module")
def best():
    return demo(0.5)


def timed(best, hardware, share, devices=2):
    """The runs as if trained on `hardware` at a share of its peak that differs a little between variants."""
    frame = best.frame.copy()
    peak = compute.HARDWARE[compute.hardware(hardware).name].peak_flop_per_second
    own = share * (1 + 0.1 * frame["variant"].str[1:].astype(int) / 5)
    frame["hardware"], frame["devices"] = hardware, devices
    frame["train_seconds"] = frame["train_flop"] / (own * devices * peak)
    return RunTable.from_frame(frame)


def test_core_hours_flop_and_multiples_agree(best):
    largest = float(best.train_flop.max())
    same = [Budget(times=3), Budget(flop=3 * largest), Budget(core_hours=compute.core_hours(3 * largest))]
    for found in (target_flop(best, budget) for budget in same):
        assert found.flop == pytest.approx(3 * largest)
        assert found.core_hours == pytest.approx(compute.core_hours(3 * largest))
        assert found.factor == pytest.approx(3)
        assert found.sentences == ()


def test_device_hours_convert_by_measured_ratio_else_by_peak(best):
    """250 hours of a TPU-v3 core are 110 of v4 for NFNets; an H100 is 989.4 / 137.5 v4 cores by peak."""
    v3 = target_flop(best, Budget(device_hours=250, hardware="tpu-v3"))
    assert v3.core_hours == pytest.approx(110)
    assert "by measurement" in v3.sentences[0]
    h100 = target_flop(best, Budget(device_hours=10, hardware="NVIDIA H100 80GB HBM3"))
    assert h100.core_hours == pytest.approx(10 * 989.4 / 137.5)
    assert "by assumption" in h100.sentences[0]
    v4 = target_flop(best, Budget(device_hours=3, hardware="tpu-v4"))
    assert v4.core_hours == pytest.approx(6)  # two cores a device
    given = target_flop(best, Budget(device_hours=10, hardware="h100", utilisation=0.2))
    assert given.flop == pytest.approx(10 * 3600 * 989.4e12 * 0.2)
    foreign = RunTable.from_frame(best.frame.drop(columns=["family", "core_hours", "utilisation"]))
    by_peak = target_flop(foreign, Budget(device_hours=250, hardware="tpu-v3"))
    assert by_peak.flop == pytest.approx(250 * 3600 * 61.5e12 * 0.36)  # an NFNet's ratio is not everybody's
    assert by_peak.core_hours is None


def test_a_utilisation_measured_on_that_hardware_wins(best):
    runs = timed(best, "NVIDIA H100 80GB HBM3", 0.1)
    found = measured_utilisation(runs, "h100")
    assert (found.low, found.high) == pytest.approx((0.1, 0.11))
    assert found.low < found.mid < found.high
    assert measured_utilisation(runs, "h100", "N5").mid == pytest.approx(0.11)
    assert measured_utilisation(runs, "a100") is None
    assert measured_utilisation(best, "h100") is None
    bought = target_flop(runs, Budget(device_hours=2, hardware="h100"))
    assert bought.flop == pytest.approx(2 * 3600 * 989.4e12 * found.mid)
    assert "measured on h100" in bought.sentences[0]


def test_dollars_buy_device_hours(best):
    hours = target_flop(best, Budget(device_hours=50, hardware="a100"))
    dollars = target_flop(best, Budget(dollars=100, price_per_device_hour=2, hardware="a100"))
    assert dollars.flop == pytest.approx(hours.flop)
    assert "50 device-hours of a100" in dollars.sentences[0]


@pytest.mark.parametrize(
    ("given", "message"),
    [({"device_hours": 1}, "needs hardware"), ({"dollars": 1, "hardware": "h100"}, "needs price_per_device_hour"),
     ({"dollars": 1, "device_hours": 1, "hardware": "h100"}, "exactly one"), ({"hardware": "h100"}, "none was given"),
     ({"flop": 1, "hardware": "h100"}, "hardware say nothing"),
     ({"device_hours": 1, "hardware": "h1000"}, "did you mean"),
     ({"device_hours": 1, "hardware": "cpu"}, "no known peak"),
     ({"device_hours": 1, "hardware": "h100", "utilisation": 1.1}, "at most 1"),
     ({"device_hours": 1, "hardware": "h100", "price_per_device_hour": 2}, "price_per_device_hour say nothing"),
     ({"dollars": 1, "hardware": "h100", "price_per_device_hour": -2}, "must be a positive")],
)  # fmt: skip
def test_a_budget_without_what_it_needs_is_refused(given, message):
    with pytest.raises(UserError, match=message):
        Budget(**given)


def test_ten_times_beyond_warns_and_a_hundred_times_is_refused():
    assert extrapolation(10, "x", far=False) == []
    assert "10.1 times" in extrapolation(10.1, "the budget", far=False)[0]
    with pytest.raises(UserError, match="--far"):
        extrapolation(101, "the budget", far=False)
    assert extrapolation(101, "the budget", far=True)[0].startswith("far extrapolation")


def test_hours_are_flop_over_the_share_of_the_peak():
    """The published step of F0 on TPU v3, 73.3 ms for 32 images at 192 pixels, is the slow end of the range."""
    size = architecture.size(architecture.variant("F0"), 192, 1000)
    flop = compute.train_flop(size.macs_per_image, 32)
    own = Candidate("F0", size.params, size.macs_per_image)
    found = cost_of(flop, own, hardware="tpu-v3", devices=1, batch_size=32, price_per_device_hour=7200)
    assert found.wall_hours.high * 3600 == pytest.approx(0.0733, rel=2e-3)
    assert found.wall_hours.mid == pytest.approx(flop / (0.36 * 61.5e12) / 3600)
    assert found.dollars.high == pytest.approx(2 * 0.0733, rel=2e-3)
    four = cost_of(flop, own, hardware="tpu-v3", devices=4, batch_size=128)
    assert four.wall_hours.mid == pytest.approx(found.wall_hours.mid / 4)
    assert four.device_hours == found.device_hours
    assert four.dollars is None
    assert not any("smaller than any" in note for note in found.notes)


def test_a_measured_share_replaces_the_published_range(best):
    measured = measured_utilisation(timed(best, "h200", 0.05), "h200")
    found = cost_of(1e18, F0, hardware="h200", devices=1, batch_size=64, measured=measured)
    assert found.wall_hours.high * 3600 == pytest.approx(1e18 / (0.05 * 989.4e12))
    assert "measured on h200" in found.notes[0]


def test_small_models_and_odd_requests_are_not_passed_over(best):
    small = candidates(best)[0][0]
    found = cost_of(1e15, small, hardware="a100", devices=2, batch_size=16, setting=setting_of(best))
    said = " ".join(found.notes)
    for words in ("smaller than any model with a published time", "fewer than the published 32", "40 GB and 80 GB"):
        assert words in said
    assert found.memory_gb == 40
    unknown = cost_of(1e15, small, hardware="tpu-v4", devices=1, batch_size=16)
    assert (unknown.memory, unknown.fits) == (None, None)
    assert "unknown" in str(unknown)
    for wrong, message in (({"batch_size": 15}, "evenly"), ({"devices": 0}, "positive"), ({"hardware": "cpu"}, "peak"),
                           ({"price_per_device_hour": float("nan")}, "positive")):  # fmt: skip
        with pytest.raises(UserError, match=message):
            cost_of(1e15, small, **{"hardware": "a100", "devices": 2, "batch_size": 16, **wrong})


def test_the_setting_is_what_the_runs_were_built_with(best):
    assert setting_of(best) == Setting("nfnet", 8, 100)
    assert setting_of(RunTable.from_frame(best.frame.assign(macs_per_image=1e6))) is None
    assert setting_of(RunTable.from_frame(pd.DataFrame({"loss": [1.0]}))) is None


def test_memory_of_parameters_is_exact_and_fits_is_said():
    found = cost_of(1e20, F0, hardware="tpu-v4", devices=2, batch_size=64, setting=IMAGENET)
    parts = found.memory
    assert parts.params == parts.gradients == parts.momentum == 4 * 71_489_284
    assert parts.ema == 0
    assert architecture.memory(architecture.variant("F0"), 224, 1000, 32, ema=True).ema == 4 * 71_489_284
    assert found.memory_float32.activations == 2 * parts.activations
    assert found.memory_rematerialised.total < parts.total
    assert found.fits
    big = cost_of(1e20, Candidate("F7+", None, 1e11), hardware="tpu-v2", devices=1, batch_size=512, setting=IMAGENET)
    assert big.fits is False
    assert "does not fit" in str(big)
    record = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert record["memory_bytes"]["bfloat16"]["total"] == parts.total
    assert record["fits"] is True
    shapes = nfnet.abstract(architecture.variant("N2"), 10)
    kernels = sum(leaf.size for leaf in jax.tree.leaves(shapes) if leaf.ndim == 4)
    assert architecture.size(architecture.variant("N2"), 8, 10).kernel_weights == kernels


@pytest.mark.parametrize(("name", "side"), [("N0", 8), ("N4", 11)])
def test_activations_are_those_that_jax_saves(name, side, monkeypatch):
    """With a policy that saves the outputs of convolutions and of the activations' tanh, jax saves what we count."""
    monkeypatch.setattr(nfnet, "fastest", lambda widest, grouped: "grouped")
    model, batch = architecture.variant(name), 3

    def loss(params, images):
        return jnp.sum(nfnet.apply(model, 10, params, images) ** 2)

    def saved(*primitives):
        from jax._src.ad_checkpoint import saved_residuals

        kept = jax.checkpoint(loss, policy=lambda primitive, *_, **__: primitive.name in primitives)
        images = jax.ShapeDtypeStruct((batch, side, side, 3), jnp.float32)
        found = saved_residuals(kept, nfnet.abstract(model, 10), images)
        return sum(math.prod(value.shape) for value, source in found if len(value.shape) == 4 and
                   "from the argument" not in source) / batch  # fmt: skip

    counted = architecture.tensors(model, side)
    half = -(-side // 2)
    width = model.widths[0]
    pooled = half * half * width  # before the second block's shortcut
    assert counted.outputs == (side * side * width, half * half * 2 * width)
    assert counted.kept == 3 * side * side + saved("conv_general_dilated", "tanh") + pooled + sum(counted.outputs)
    assert counted.rematerialised == counted.kept - min(counted.inside)
