"""Sweeps: a TOML spec becomes runs, each with a configuration, an id and a cost."""

from scalelaw.sweep.config import DataConfig, ModelConfig, RunConfig, TrainConfig
from scalelaw.sweep.expand import PlannedRun, describe, expand
from scalelaw.sweep.facts import Cost, DataFacts, data_facts, run_cost
from scalelaw.sweep.spec import Spec, check_spec, read_spec

__all__ = [
    "Cost",
    "DataConfig",
    "DataFacts",
    "ModelConfig",
    "PlannedRun",
    "RunConfig",
    "Spec",
    "TrainConfig",
    "check_spec",
    "data_facts",
    "describe",
    "expand",
    "read_spec",
    "run_cost",
]
