"""What follows from what a source says: images from steps, FLOP from size and images, core-hours from FLOP or time.

Only what is unknown is filled in; every rule that was used is told with the number of runs.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Any, Literal

from scalelaw import compute
from scalelaw.compute import DEFAULT_UTILISATION, FLOP_PER_CORE_HOUR, HARDWARE, Hardware
from scalelaw.errors import UserError

CostFrom = Literal["flop", "time"]
FlopRule = Literal["6nd"]
Row = dict[str, Any]


def fill(
    rows: list[Row],
    *,
    utilisation: float | None = None,
    cost_from: CostFrom | None = None,
    flop_rule: FlopRule | None = None,
) -> list[str]:
    """Fills in what follows from the rest, row by row.

    Args:
        rows: changed in place.
        utilisation: share of the TPU-v4 peak to assume where core-hours come from FLOP and a row does not say.
        cost_from: what core-hours come from where both FLOP and device time are known: FLOP unless given.
        flop_rule: `6nd` takes training FLOP as 6 x parameters x tokens where multiply-adds are unknown.

    Returns:
        A sentence for every rule, with the number of runs.

    Raises:
        UserError: for a utilisation that is no share, or core-hours called measured that are not a TPU v4's.
    """
    if utilisation is not None and not 0 < utilisation <= 1:
        raise UserError(f"--utilisation {utilisation}: must be above 0 and at most 1")
    told: Counter[str] = Counter()
    mistakes: dict[str, None] = {}
    for row in rows:
        _amounts(row, flop_rule, told)
        try:
            _core_hours(row, utilisation, cost_from, told)
        except UserError as error:
            mistakes |= dict.fromkeys(f"run {row.get('run_id')}: {message}" for message in error.messages)
    if mistakes:
        raise UserError(*list(mistakes)[:20])
    return [f"{rule}, {count} run{'s' * (count != 1)}" for rule, count in told.items()]


def _known(row: Row, *names: str) -> bool:
    """Whether all of these are known, positive and finite."""
    return all(isinstance(row.get(name), (int, float)) and 0 < row[name] < math.inf for name in names)


def _amounts(row: Row, flop_rule: FlopRule | None, told: Counter[str]) -> None:
    if row.get("images_seen") is None and _known(row, "steps", "batch_size"):
        row["images_seen"] = row["steps"] * row["batch_size"]
        told["images_seen is steps x batch_size"] += 1
    if row.get("images_seen") is None and _known(row, "epochs", "unique_images"):
        row["images_seen"] = round(row["epochs"] * row["unique_images"])
        told["images_seen is epochs x unique_images"] += 1
    if row.get("epochs") is None and _known(row, "images_seen", "unique_images"):
        row["epochs"] = row["images_seen"] / row["unique_images"]
        told["epochs is images_seen / unique_images"] += 1
    if row.get("train_flop") is None and _known(row, "macs_per_image", "images_seen"):
        row["train_flop"] = compute.train_flop(row["macs_per_image"], row["images_seen"])
        told["train_flop is 6 x macs_per_image x images_seen"] += 1
    if row.get("train_flop") is None and flop_rule == "6nd" and _known(row, "params", "images_seen"):
        row["train_flop"] = 6.0 * row["params"] * row["images_seen"]
        told["train_flop is 6 x params x images_seen, as was asked for with --flop 6nd"] += 1
    if row.get("train_seconds") is None and _known(row, "device_hours", "devices"):
        row["train_seconds"] = row["device_hours"] * 3600.0 / row["devices"]
        told["train_seconds is device_hours / devices"] += 1


def _device_hours(row: Row) -> float | None:
    if _known(row, "device_hours"):
        return float(row["device_hours"])
    if _known(row, "train_seconds", "devices"):
        return float(row["train_seconds"] * row["devices"] / 3600.0)
    return None


def _core_hours(row: Row, utilisation: float | None, cost_from: CostFrom | None, told: Counter[str]) -> None:
    if row.get("core_hours") is not None:
        _given(row, told)
        return
    spent, flop = _device_hours(row), row["train_flop"] if _known(row, "train_flop") else None
    device, why = _device(row)
    if spent is not None and device is not None and device.name == "tpu-v4":
        row["core_hours"] = compute.measured_core_hours(spent * 3600.0, 1, device)
        row["core_hours_basis"] = "measured"
        if flop is not None:
            row["utilisation"] = flop / (row["core_hours"] * FLOP_PER_CORE_HOUR)
        told["core_hours are measured: 2 x device-hours on TPU v4"] += 1
    elif flop is not None and cost_from != "time":
        share = row["utilisation"] if _known(row, "utilisation") else utilisation or DEFAULT_UTILISATION
        said = "the row's own utilisation" if _known(row, "utilisation") else f"an assumed utilisation of {share:.3g}"
        told[f"core_hours are estimated from FLOP at {said} of the TPU-v4 peak"
             + (" (--cost time would take the hours on the hardware)" if spent is not None else "")] += 1  # fmt: skip
        row |= {"core_hours": compute.core_hours(flop, share), "core_hours_basis": "estimated", "utilisation": share}
    elif spent is not None and device is not None and device.peak_flop_per_second is not None:
        ratio = compute.conversion(device.name, "tpu-v4", str(row.get("family") or ""))
        row["core_hours"] = spent * device.cores_per_device / ratio.ratio
        row["core_hours_basis"] = "estimated"
        if flop is not None:
            row["utilisation"] = flop / (row["core_hours"] * FLOP_PER_CORE_HOUR)
        core = f"one core of {device.name}" if device.cores_per_device > 1 else f"one {device.name}"
        told[f"core_hours are estimated from device-hours: a TPU-v4 core-hour is {ratio.ratio:.3g} hours of {core} "
             f"({ratio.note})"] += 1  # fmt: skip
    elif spent is not None:
        told[f"core_hours are unknown: there are device-hours, but {why}"] += 1


def _given(row: Row, told: Counter[str]) -> None:
    basis = row.get("core_hours_basis")
    if basis is None:
        told["core_hours are the source's, and whether measured (on TPU v4) or estimated is unknown: say it with "
             "--set core_hours_basis=..."] += 1  # fmt: skip
    elif basis == "measured" and (named := row.get("hardware")) is not None and not _is_v4(named):
        raise UserError(f"core_hours_basis is measured, but hardware is {named!r}: core-hours are a TPU v4's; give "
                        "device_hours instead, or the basis estimated")  # fmt: skip
    if row.get("utilisation") is None and _known(row, "train_flop", "core_hours"):
        row["utilisation"] = row["train_flop"] / (row["core_hours"] * FLOP_PER_CORE_HOUR)
        told["utilisation is train_flop over core_hours at peak"] += 1


def _device(row: Row) -> tuple[Hardware | None, str]:
    """The row's hardware, and why hours on it cannot be converted where they cannot."""
    named = row.get("hardware")
    if named is None:
        return None, "the hardware is not named: --set hardware=..."
    try:
        device = compute.hardware(str(named))
    except UserError as error:
        return None, error.messages[0]
    return device, f"{device.name} has no known peak"


def _is_v4(named: str) -> bool:
    try:
        return compute.hardware(named) is HARDWARE["tpu-v4"]
    except UserError:
        return False
