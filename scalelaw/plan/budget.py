"""A budget in whatever unit, as training FLOP and TPU-v4 core-hours, and how far it lies beyond the runs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scalelaw import compute
from scalelaw.errors import UserError
from scalelaw.runs import RunTable

WARN_BEYOND = 10.0
REFUSE_BEYOND = 100.0
"""What lies this many times beyond the largest finished run warns, or is refused unless asked for."""


@dataclass(frozen=True)
class Target:
    """What a budget buys.

    Attributes:
        flop: training FLOP.
        core_hours: TPU-v4 core-hours; None where the runs do not say what one buys.
        factor: `flop` over that of the largest finished run.
        sentences: how hours or dollars became FLOP; empty for FLOP and multiples.
    """

    flop: float
    core_hours: float | None
    factor: float
    sentences: tuple[str, ...] = ()


def target_flop(best: RunTable, budget: compute.Budget) -> Target:
    """Training FLOP and core-hours of a budget, and its distance from the largest finished run.

    Args:
        best: finished runs with macs_per_image and images_seen.
        budget: one amount in its unit.

    Raises:
        UserError: for core-hours where the runs know of none.
    """
    flop, sentences = flop_of(best, budget)
    per_hour = flop_per_core_hour(best)
    return Target(flop, None if per_hour is None else flop / per_hour, flop / largest_flop(best), sentences)


def flop_of(best: RunTable, budget: compute.Budget, called: str = "budget") -> tuple[float, tuple[str, ...]]:
    """Training FLOP of a budget, and how hours or dollars became it.

    A core-hour buys the FLOP that it bought in the runs (their geometric mean). Device-hours buy their share of the
    hardware's peak: the share given, else the one measured on that hardware in the runs, else they become core-hours by
    a measured ratio of the two kinds of hardware where there is one, and by their peaks where there is none.

    Args:
        best: finished runs with macs_per_image and images_seen.
        budget: one amount in its unit.
        called: what messages call it.

    Raises:
        UserError: for core-hours where the runs know of none, or FLOP beyond floating point.
    """
    flop, sentences = _converted(best, budget, called)
    if not 0 < flop < np.inf:
        raise UserError(f"the {called} comes to {flop:g} FLOP, which is beyond floating point; name another amount")
    return flop, sentences


def _converted(best: RunTable, budget: compute.Budget, called: str) -> tuple[float, tuple[str, ...]]:
    if budget.flop is not None:
        return budget.flop, ()
    if budget.times is not None:
        return budget.times * largest_flop(best), ()
    per_hour = flop_per_core_hour(best)
    if budget.core_hours is None:
        return _of_devices(best, budget, per_hour)
    if per_hour is None:
        raise UserError(f"{best.source}: has no core_hours, so the {called} cannot be converted; give it in FLOP")
    return budget.core_hours * per_hour, ()


def largest_flop(best: RunTable) -> float:
    """Training FLOP of the largest of these runs: 6 x multiply-adds x images."""
    return float((6.0 * best.macs_per_image.astype(float) * best.images_seen.astype(float)).max())


def flop_per_core_hour(best: RunTable) -> float | None:
    """Geometric mean over the runs of the training FLOP that a core-hour bought; None where core-hours are unknown."""
    if not best.has("core_hours"):
        return None
    hours = best.core_hours.astype(float)
    flop = 6.0 * best.macs_per_image.astype(float) * best.images_seen.astype(float)
    known = np.isfinite(hours) & (hours > 0)
    return float(np.exp(np.mean(np.log(flop[known] / hours[known])))) if known.any() else None


def extrapolation(
    factor: float, what: str, *, far: bool, holds: str | None = "the interval holds only if the law's form does"
) -> list[str]:
    """The sentence that a distance calls for: none up to 10 times beyond the largest finished run.

    Args:
        factor: `what` over the largest finished run.
        what: what lies so far out.
        far: allow more than 100 times.
        holds: what the sentence says of an interval; None where none is given.

    Raises:
        UserError: beyond 100 times, unless `far`.
    """
    if not factor > WARN_BEYOND:
        return []
    sentence = f"extrapolation: {what} is {factor:.3g} times the largest finished run"
    if factor <= REFUSE_BEYOND:
        return [f"{sentence}." if holds is None else f"{sentence}; {holds}."]
    if not far:
        raise UserError(f"far {sentence}, beyond {REFUSE_BEYOND:g} times; pass --far (far=True) to see it all the same")
    return [f"far {sentence}; nothing in these runs says that the laws hold so far out."]


@dataclass(frozen=True)
class Utilisation:
    """Share of a device's bf16 peak that training reaches, and how far it may be off.

    Attributes:
        low, mid, high: shares of the peak.
        basis: measured on this hardware in the runs, given, or published for other runs.
        note: a sentence: where the numbers are from.
    """

    low: float
    mid: float
    high: float
    basis: str
    note: str


PUBLISHED = Utilisation(
    0.297,
    compute.DEFAULT_UTILISATION,
    0.399,
    "published",
    "29.7 to 39.9 % of peak are the published training steps of NFNet-F0 to F5 on TPU v3, 32 images a core "
    "(arXiv 2102.06171); 36 % is NFNet-F7+ on TPU v4 (arXiv 2310.16764)",
)


def measured_utilisation(runs: RunTable, name: str, variant: str | None = None) -> Utilisation | None:
    """The share of its peak that the hardware reached in these runs; None where it never ran or was not timed.

    Runs of `variant` alone where it ran there. Low and high are the runs' own, mid their median.
    """
    device = compute.hardware(name)
    needed = ("hardware", "devices", "train_seconds", "macs_per_image", "images_seen")
    if device.peak_flop_per_second is None or not all(runs.has(column) for column in needed):
        return None
    frame = runs.frame.dropna(subset=list(needed))
    there = np.array([is_kind(kind, device) for kind in frame["hardware"]], bool)
    frame = frame[there & (frame["train_seconds"].to_numpy(float) > 0)]
    if variant is not None and "variant" in frame and (frame["variant"] == variant).any():
        frame = frame[frame["variant"] == variant]
    if frame.empty:
        return None
    flop = 6.0 * frame["macs_per_image"].astype(float) * frame["images_seen"].astype(float)
    shares = (flop / (frame["train_seconds"] * frame["devices"] * device.peak_flop_per_second)).to_numpy(float)
    models = ", ".join(sorted({str(one) for one in frame["variant"]})) if "variant" in frame else "these models"
    note = f"measured on {device.name} in {len(frame)} runs of {models}"
    return Utilisation(float(shares.min()), float(np.median(shares)), float(shares.max()), "measured", note)


def is_kind(kind: object, device: compute.Hardware) -> bool:
    """Whether a row's hardware is this device."""
    try:
        return compute.hardware(str(kind)).name == device.name
    except UserError:  # a board that the table does not know
        return False


def _of_devices(best: RunTable, budget: compute.Budget, per_hour: float | None) -> tuple[float, tuple[str, ...]]:
    """FLOP of a number of device-hours, and how they were converted."""
    hours = budget.hours_of_devices
    assert hours is not None
    assert budget.hardware is not None
    device = compute.hardware(budget.hardware)
    assert device.peak_flop_per_second is not None
    said = []
    if budget.dollars is not None:
        price = budget.price_per_device_hour
        said.append(
            f"{budget.dollars:,.6g} dollars at {price:g} an hour are {hours:.4g} device-hours of {device.name}."
        )
    measured = measured_utilisation(best, device.name)
    share = budget.utilisation if budget.utilisation is not None else (measured.mid if measured else None)
    if share is not None:
        how = "as given" if budget.utilisation is not None or measured is None else measured.note
        said.append(f"an hour of {device.name} is taken at {share:.1%} of its peak, {how}.")
        return hours * 3600 * device.peak_flop_per_second * share, tuple(said)
    families = set(best.frame["family"].dropna().astype(str)) if best.has("family") else set()
    found = compute.conversion(device.name, "tpu-v4", families.pop() if len(families) == 1 else "of unknown kind")
    bought = per_hour or compute.DEFAULT_UTILISATION * compute.FLOP_PER_CORE_HOUR
    flop = hours * device.cores_per_device / found.ratio * bought
    rest = "what one bought in the runs" if per_hour else f"{compute.DEFAULT_UTILISATION:.0%} of its peak assumed"
    said.append(
        f"{found.ratio:.3g} core-hours of {device.name} count as one of TPU v4, by {found.basis} ({found.note}); "
        f"a TPU-v4 core-hour is {bought:.3g} FLOP, {rest}."
    )
    return flop, tuple(said)
