"""What a run needs of every device's memory, by arithmetic, before anything is compiled."""

from __future__ import annotations

from dataclasses import replace

from scalelaw import architecture, compute
from scalelaw.errors import UserError
from scalelaw.sweep.config import RunConfig
from scalelaw.sweep.facts import DataFacts
from scalelaw.sweep.recipes import rules_of
from scalelaw.sweep.sections import DevicesSection

_FOLLOWING = ("params", "gradients", "momentum", "ema", "ascended")


def memory_per_device(config: RunConfig, facts: DataFacts, devices: DevicesSection) -> architecture.Memory:
    """Bytes of one device in training: its part of the state, and the activations of its part of a batch.

    Where devices share one copy of the parameters, each holds its part of all that follows from them, and in a step
    the whole parameters once.
    """
    model, rules = architecture.variant(config.model.variant, config.model.family), rules_of(config)
    rows = -(-config.train.batch_size // (devices.planned * devices.accumulate))
    needed = architecture.memory(
        model,
        facts.resolution,
        facts.classes,
        rows,
        bytes_per_value=2 if rules.precision == "bfloat16" else 4,
        rematerialised=devices.remat,
        ema=rules.ema > 0,
        sharpness=rules.sam_radius > 0,
    )
    if devices.accumulate > 1:  # the sum over the parts so far, and a part's own
        needed = replace(needed, gradients=2 * needed.gradients)
    if devices.params == 1:
        return needed
    each = {name: -(-getattr(needed, name) // devices.params) for name in _FOLLOWING}
    return replace(needed, **{**each, "params": each["params"] + needed.params})


def check_memory(config: RunConfig, facts: DataFacts, devices: DevicesSection, limit: float, where: str) -> None:
    """Whether a run fits.

    Args:
        limit: bytes of one device.
        where: the device in words.

    Raises:
        UserError: when it does not, with what would mend it.
    """
    needed = memory_per_device(config, facts, devices)
    if needed.total <= limit:
        return
    raise UserError(
        f"{config.model.variant} with batch {config.train.batch_size} at {facts.resolution} pixels needs "
        f"{gigabytes(needed.total)} on each of {devices.planned} devices ({gigabytes(needed.activations)} of it "
        f"activations); {where} has {gigabytes(limit)}. {_mend(config, facts, devices, limit)}"
    )


def board_memory(hardware: str) -> float | None:
    """Bytes of the smallest board sold under a name of the hardware table; None when unknown."""
    smallest = min(compute.hardware(hardware).memory_gb, default=None)
    return None if smallest is None else 1e9 * smallest


def gigabytes(size: float) -> str:
    """Bytes in words of 1e9 or 1e6."""
    return f"{size / 1e9:.3g} GB" if size >= 1e8 else f"{size / 1e6:.3g} MB"


def _mend(config: RunConfig, facts: DataFacts, devices: DevicesSection, limit: float) -> str:
    """The first change in [devices] that makes it fit: rematerialising, then more parts, then shared parameters."""
    for remat in (devices.remat, True):
        for params in (devices.params, *(2**k for k in range(1, 11) if devices.planned % 2**k == 0)):
            accumulate = devices.accumulate
            while accumulate * devices.planned <= config.train.batch_size:
                wanted = devices.model_copy(update={"remat": remat, "params": params, "accumulate": accumulate})
                if memory_per_device(config, facts, wanted).total <= limit:
                    changes = [
                        f"{name} = {str(value).lower()}"
                        for name, value in (("remat", remat), ("params", params), ("accumulate", accumulate))
                        if value != getattr(devices, name)
                    ]
                    return f"In [devices] set {', '.join(changes)}"
                accumulate *= 2
    return "Share it among more devices ([devices] count)"
