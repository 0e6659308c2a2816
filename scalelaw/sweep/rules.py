"""What must hold between the settings of a section, beyond what each must be by itself."""

from __future__ import annotations

from scalelaw import architecture, compute
from scalelaw.errors import UserError, nearest
from scalelaw.sweep.config import WARMUPS
from scalelaw.sweep.grids import LENGTHS
from scalelaw.sweep.mistakes import nth
from scalelaw.sweep.sections import DevicesSection, ModelSection, TrainSection


def model_mistakes(model: ModelSection) -> list[str]:
    """Families and variants that are not known."""
    found = []
    known = list(architecture.FAMILIES)
    for index, family in enumerate(model.family):
        if family not in known:
            where = f"[model] family{nth(index, len(model.family))}"
            found.append(f"{where}: unknown {family!r}{nearest(family, known)} (known: {', '.join(known)})")
            continue
        for index, name in enumerate(model.variants):
            where = f"[model] variants{nth(index, len(model.variants))}"
            try:
                architecture.variant(name, family)
            except UserError as error:
                found += [f"{where}: {line}" for line in error.messages]
    return found


def train_mistakes(train: TrainSection) -> list[str]:
    """Lengths, warm-ups and layouts that do not go together."""
    given = [length for length in LENGTHS if getattr(train, length) is not None]
    if len(given) != 1:
        said = f"{' and '.join(given)} are given; keep one" if given else "none is given; add one"
        return [f"[train] exactly one of epochs, images and core_hours is the length; {said}"]
    warmups = [name for name in WARMUPS if getattr(train, name) is not None]
    if len(warmups) > 1:
        return [f"[train] {' and '.join(warmups)} are given; keep one"]
    if train.layout == "iso" and given != ["core_hours"]:
        return [f"[train] layout: 'iso' needs core_hours = [...], the equal-compute budgets, in place of {given[0]}"]
    return []


def devices_mistakes(devices: DevicesSection) -> list[str]:
    """Hardware that is not known, or devices that cannot be shared out."""
    found = []
    if devices.count is not None and devices.count % devices.params:
        found.append(f"[devices] params: {devices.params} does not divide the {devices.count} devices of count")
    if devices.hardware is not None:
        try:
            compute.hardware(devices.hardware)
        except UserError as error:
            found += [f"[devices] hardware: {line}" for line in error.messages]
    return found
