"""The columns of a run's row that are known before it trains: what it is, not how it went."""

from __future__ import annotations

from typing import Any

from scalelaw.sweep.config import ParentConfig, RunConfig
from scalelaw.sweep.facts import Cost


def of_config(config: RunConfig) -> dict[str, Any]:
    """The columns that follow from the configuration alone, without a look at the data."""
    return {
        "run_id": config.run_id,
        "family": config.model.family,
        "variant": config.model.variant,
        "dataset": config.data.name,
        "unique_images": config.data.train_images,
        "batch_size": config.train.batch_size,
        "peak_lr": config.train.peak_lr,
        "seed": config.train.seed,
        "config": config.canonical,
        **({} if config.parent is None else _of_parent(config.parent)),
    }


def _of_parent(parent: ParentConfig) -> dict[str, Any]:
    return {
        "parent": parent.name,
        "parent_core_hours": parent.core_hours,
        "parent_val_loss": parent.val_loss,
        "parent_epochs": parent.epochs,
        "parent_peak_lr": parent.peak_lr,
    }


def of_cost(cost: Cost) -> dict[str, Any]:
    """The columns that need the data's classes and resolution too."""
    return {
        "params": cost.size.params,
        "params_body": cost.size.params_body,
        "macs_per_image": float(cost.size.macs_per_image),
        "resolution": cost.facts.resolution,
    }
