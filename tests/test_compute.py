"""Compute against what DeepMind published: multiply-adds, peaks and units have to be right together."""

import contextlib
import math
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scalelaw import architecture, compute
from scalelaw.compute import HARDWARE, Budget, Stopwatch
from scalelaw.errors import UserError

POSITIVE = st.floats(1e-6, 1e30)


@pytest.mark.parametrize(
    ("variant", "resolution", "milliseconds", "percent"),
    [("F0", 192, 73.3, 29.7), ("F1", 224, 158.5, 34.3), ("F2", 256, 295.8, 35.0),
     ("F3", 320, 532.2, 39.9), ("F4", 384, 1033.3, 36.6), ("F5", 416, 1398.5, 37.8)],
)  # fmt: skip
def test_published_tpu_v3_step_times_give_the_published_utilisation(variant, resolution, milliseconds, percent):
    size = architecture.size(architecture.variant(variant), resolution, 1000)
    flop = compute.train_flop(size.macs_per_image, images=32)  # one step of one core
    reached = compute.utilisation(flop, milliseconds / 1000, devices=1, device=HARDWARE["tpu-v3"])
    assert 100 * reached == pytest.approx(percent, abs=0.05)


@pytest.mark.parametrize(
    ("variant", "macs", "epochs", "core_hours", "percent", "at_36_percent"),
    [("F7+", 100.86e9, 8, 110e3, 35.6, 109e3), ("F0", 9.58e9, 0.25, 400, 29.0, 322)],
)
def test_the_papers_own_budgets(variant, macs, epochs, core_hours, percent, at_36_percent):
    size = architecture.size(architecture.variant(variant), 224, 30_000)
    assert size.macs_per_image == pytest.approx(macs, rel=1e-3)
    flop = compute.train_flop(size.macs_per_image, epochs * 4e9)
    seconds = core_hours / 2 * 3600  # of one device, a chip of two cores
    assert 100 * compute.utilisation(flop, seconds, 1, HARDWARE["tpu-v4"]) == pytest.approx(percent, abs=0.05)
    assert 100 * compute.cost(flop, seconds, 1, HARDWARE["tpu-v4"]).utilisation == pytest.approx(percent, abs=0.05)
    assert compute.core_hours(flop) == pytest.approx(at_36_percent, rel=5e-3)
    assert compute.DEFAULT_UTILISATION == 0.36


def test_unit_identities():
    v4 = HARDWARE["tpu-v4"]
    assert compute.measured_core_hours(3600, 1, v4) == 2  # one chip-hour is two core-hours
    assert compute.measured_core_hours(1800, 4, v4) == 4
    assert compute.FLOP_PER_CORE_HOUR == 4.95e17 == 275e12 / 2 * 3600
    assert v4.peak_flop_per_core_second == compute.TPU_V4_CORE_PEAK == 137.5e12
    assert compute.FLOP_PER_PF_DAY == 8.64e19
    assert compute.core_hours(compute.FLOP_PER_PF_DAY, 1) == pytest.approx(174.5454545)
    assert compute.train_flop(7, 5) == 3 * 2 * 7 * 5


def test_hardware_table():
    peaks = {name: row.peak_flop_per_second for name, row in HARDWARE.items()}
    assert peaks == {"tpu-v2": 22.5e12, "tpu-v3": 61.5e12, "tpu-v4": 275e12, "tpu-v5e": 197e12, "tpu-v5p": 459e12,
                     "tpu-v6e": 918e12, "a100": 312e12, "h100": 989.4e12, "h200": 989.4e12, "cpu": None}  # fmt: skip
    assert {name for name, row in HARDWARE.items() if row.cores_per_device == 2} == {"tpu-v4", "tpu-v5p"}
    assert all(row.source for row in HARDWARE.values())


@pytest.mark.parametrize(
    ("kind", "name"),
    [("TPU v2", "tpu-v2"), ("TPU v3", "tpu-v3"), ("TPU v4", "tpu-v4"), ("TPU v5 lite", "tpu-v5e"),
     ("TPU v5", "tpu-v5p"),
     ("TPU v6 lite", "tpu-v6e"), ("cpu", "cpu"), ("NVIDIA A100-SXM4-80GB", "a100"), ("NVIDIA H100 80GB HBM3", "h100"),
     ("NVIDIA H200", "h200"), (" H200 ", "h200")],
)  # fmt: skip
def test_hardware_is_found_by_device_kind(kind, name):
    assert compute.hardware(kind).name == name


@pytest.mark.parametrize(
    "kind", ["NVIDIA H100 PCIe", "NVIDIA H100 NVL", "NVIDIA H100 80GB HBM3 MIG 1g.10gb", "NVIDIA GH200 480GB",
             "NVIDIA A10", "NVIDIA A100X", "TPU v9", ""],
)  # fmt: skip
def test_a_board_of_another_peak_is_not_guessed(kind):
    with pytest.raises(UserError, match=r"unknown hardware .*known: tpu-v2, .*cpu"):
        compute.hardware(kind)


def test_unknown_hardware_names_the_nearest():
    with pytest.raises(UserError, match="did you mean 'tpu-v4'"):
        compute.hardware("tpu-v4x")


def test_a_cpu_has_no_utilisation_and_an_estimated_cost():
    cpu = HARDWARE["cpu"]
    assert cpu.peak_flop_per_core_second is None
    assert compute.utilisation(1e15, 10, 1, cpu) is None
    cost = compute.cost(4.95e17, 1e6, 1, cpu, assumed=0.5)
    assert (cost.core_hours, cost.basis, cost.utilisation) == (2, "estimated", 0.5)


def test_conversions_say_how_they_are_known():
    nfnet, vit = (compute.conversion("tpu-v3", "tpu-v4", family) for family in ("nfnet", "vit"))
    other = compute.conversion("tpu-v3", "tpu-v4", "mlp")
    assert [round(c.ratio, 2) for c in (nfnet, vit, other)] == [2.27, 1.75, 2.24]
    assert [c.basis for c in (nfnet, vit, other)] == ["measurement", "measurement", "assumption"]
    assert "1.77" in vit.note
    assert compute.conversion("tpu-v4", "h100").basis == "assumption"
    assert compute.conversion("tpu-v4", "tpu-v4").ratio == 1
    with pytest.raises(UserError, match="'cpu' has no known peak"):
        compute.conversion("cpu", "tpu-v4")


@given(st.sampled_from(sorted(set(HARDWARE) - {"cpu"})), st.sampled_from(sorted(set(HARDWARE) - {"cpu"})))
@settings(deadline=None)
def test_converting_there_and_back_changes_nothing(source, target):
    there, back = compute.conversion(source, target), compute.conversion(target, source)
    assert there.ratio * back.ratio == pytest.approx(1)
    assert there.basis == back.basis


@given(POSITIVE, st.floats(1e-3, 1))
@settings(deadline=None)
def test_core_hours_and_flop_are_inverse(flop, utilisation):
    assert compute.flop_of_core_hours(compute.core_hours(flop, utilisation), utilisation) == pytest.approx(flop)


@given(
    POSITIVE, st.floats(1e-3, 1e9), st.integers(1, 4096), st.sampled_from(["tpu-v4", "h200", "cpu"]), st.floats(0.01, 1)
)
@settings(deadline=None)
def test_cost_times_utilisation_is_the_flop_on_either_basis(flop, seconds, devices, name, assumed):
    cost = compute.cost(flop, seconds, devices, HARDWARE[name], assumed)
    assert cost.core_hours * cost.utilisation * 4.95e17 == pytest.approx(flop)
    assert cost.basis == ("measured" if name == "tpu-v4" else "estimated")
    if name == "tpu-v4":
        assert cost.core_hours == pytest.approx(2 * devices * seconds / 3600)


def test_without_a_stopwatch_the_cost_is_estimated_on_tpu_too():
    assert compute.cost(1e18, None, 1, HARDWARE["tpu-v4"]).basis == "estimated"


@given(st.dictionaries(st.sampled_from(["core_hours", "flop", "times"]), st.floats() | st.integers(-2, 2)))
@settings(deadline=None)
def test_a_budget_is_exactly_one_positive_finite_number(given_):
    good = len(given_) == 1 and all(0 < value < math.inf for value in given_.values())
    if good:
        assert {k: v for k, v in vars(Budget(**given_)).items() if v is not None} == given_
    else:
        with pytest.raises(UserError, match="exactly one of" if len(given_) != 1 else "must be a positive, finite"):
            Budget(**given_)


@pytest.mark.parametrize("value", [True, "4", [1]])
def test_a_budget_is_a_number(value):
    with pytest.raises(UserError, match=r"times = .*must be a positive"):
        Budget(times=value)


def test_the_stopwatch_keeps_kinds_apart(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    watch = Stopwatch()
    for seconds in (2.0, 3.0):
        with watch("train"):
            now[0] += seconds
            with watch("evaluate"):
                now[0] += 10
                with watch("wait"):
                    now[0] += 100
            now[0] += 0.5
        now[0] += 1000  # nobody's
    with contextlib.suppress(KeyError), watch("wait"):
        now[0] += 7
        raise KeyError
    assert watch.seconds == {"train": 6.0, "evaluate": 20.0, "wait": 207.0}
