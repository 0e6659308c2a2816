"""Whether a run fits the devices it is about to run on; asked before anything is compiled."""

from __future__ import annotations

import os

import jax

from scalelaw.sweep import DataFacts, RunConfig
from scalelaw.sweep.device_memory import check_memory
from scalelaw.sweep.sections import DevicesSection
from scalelaw.train.mesh import Layout


def check_capacity(config: RunConfig, facts: DataFacts, layout: Layout) -> None:
    """Compares the run's memory by arithmetic with a device's; where its size is unknown nothing is said.

    Raises:
        UserError: when the run does not fit, with what would mend it.
    """
    device = jax.devices()[0]
    limit = _bytes_of(device)
    if limit is None:
        return
    devices = DevicesSection(
        count=layout.devices, params=layout.params, accumulate=layout.accumulate, remat=layout.remat
    )
    if device.platform == "cpu":  # fake devices share one machine's memory
        limit /= layout.devices
    check_memory(config, facts, devices, limit, f"{device.device_kind} here")


def _bytes_of(device: jax.Device) -> float | None:
    if device.platform == "cpu":
        names = os.sysconf_names if hasattr(os, "sysconf") else {}
        if {"SC_PHYS_PAGES", "SC_PAGE_SIZE"} <= set(names):
            return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
        return None
    limit = (device.memory_stats() or {}).get("bytes_limit")
    return None if limit is None else float(limit)
