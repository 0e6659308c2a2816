"""What must hold between the settings of a section, beyond what each must be by itself."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from scalelaw import architecture, compute
from scalelaw.errors import UserError, nearest
from scalelaw.sweep.config import WARMUPS
from scalelaw.sweep.grids import LENGTHS
from scalelaw.sweep.mistakes import nth
from scalelaw.sweep.recipes import recipe
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
    """Lengths, warm-ups, ascents, copies and layouts that do not go together."""
    given = [length for length in LENGTHS if getattr(train, length) is not None]
    if len(given) != 1:
        said = f"{' and '.join(given)} are given; keep one" if given else "none is given; add one"
        return [f"[train] exactly one of epochs, images and core_hours is the length; {said}"]
    warmups = [name for name in WARMUPS if getattr(train, name) is not None]
    if len(warmups) > 1:
        return [f"[train] {' and '.join(warmups)} are given; keep one"]
    if train.sam_share is not None and not any(_radii(train)):
        return ["[train] sam_share: is a share of the ascent that sam_radius = 0 leaves out; give sam_radius too"]
    for copies, batch in itertools.product(train.repeats, train.batch_size):
        if batch % copies:
            return [f"[train] repeats: a batch of {batch} cannot be {copies} copies each; use a divisor of batch_size"]
    if train.layout == "iso" and given != ["core_hours"]:
        return [f"[train] layout: 'iso' needs core_hours = [...], the equal-compute budgets, in place of {given[0]}"]
    return []


def _radii(train: TrainSection) -> Sequence[float]:
    """Every radius of sharpness-aware steps in the grid."""
    return train.sam_radius or [recipe(name).sam_radius for name in train.recipe]


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
