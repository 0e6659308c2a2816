"""Which column of a source is which of ours: as the user or the format says, by our names, by the field's letters.

What is none of ours is kept under its own name; a likely one is pointed out, never taken.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from scalelaw.errors import nearest
from scalelaw.imports.column_map import NAMES, ColumnMap, known_name
from scalelaw.imports.source import Source
from scalelaw.runs.schema import LETTERS

_HINTS = {
    "run_id": ("run", "run_name", "name", "id", "experiment"),
    "peak_lr": ("lr", "learning_rate", "learningrate", "max_lr", "base_lr"),
    "params": ("n_params", "num_params", "parameters", "num_parameters", "model_size", "n_parameters", "size"),
    "images_seen": ("tokens", "n_tokens", "num_tokens", "tokens_seen", "total_tokens", "samples", "examples_seen"),
    "val_loss": ("loss", "test_loss", "eval_loss", "validation_loss", "valid_loss", "loss_val", "final_loss",
                 "eval/loss", "val/loss", "validation/loss"),
    "train_flop": ("flops", "flop", "compute", "training_flops", "total_flops", "total_flos"),
    "train_seconds": ("runtime", "_runtime", "duration", "train_runtime", "train_time", "wall_time"),
    "device_hours": ("gpu_hours", "gpu-hours", "tpu_hours", "chip_hours"),
    "batch_size": ("batch", "global_batch_size", "bs"),
    "hardware": ("gpu", "accelerator", "gpu_type", "device"),
    "devices": ("n_gpus", "num_gpus", "gpus", "world_size", "gpu_count"),
    "seed": ("random_seed",),
    "variant": ("model", "arch", "architecture", "model_name"),
    "epochs": ("epoch", "n_epochs", "num_epochs"),
    "steps": ("max_steps", "num_steps", "global_step", "train_steps"),
}  # fmt: skip


@dataclass(frozen=True)
class Matched:
    """The columns of one source.

    Attributes:
        ours: our name -> the source's.
        said: those of `ours` that the user named.
        others: the source's name -> the name that it is kept under.
    """

    ours: Mapping[str, str]
    said: frozenset[str]
    others: Mapping[str, str]


def match(source: Source, columns: ColumnMap) -> Matched:
    """Matches a source's columns with ours."""
    have = [str(name) for name in source.frame]
    ours = {name: theirs for name, theirs in columns.columns.items() if theirs in have}
    said = frozenset(ours)

    def add(name: str, theirs: str) -> None:
        if name not in ours and name not in columns.constants and theirs not in ours.values():
            ours[name] = theirs

    for name, theirs in source.meanings.items():
        if theirs in have and name not in columns.columns:
            add(name, theirs)
    for name in NAMES:
        if name in have and name not in columns.columns:
            add(name, name)
    for letter, name in {**LETTERS, "L": "val_loss"}.items():
        if letter in have and name not in columns.columns:
            add(name, letter)
    others = {
        theirs: theirs if known_name(theirs) is None else f"{theirs} (not used)"
        for theirs in have
        if theirs not in ours.values()
    }
    return Matched(ours, said, others)


def absent(sources: Sequence[Source], columns: ColumnMap) -> list[str]:
    """A sentence for each column that the user named and no source has."""
    have = list(dict.fromkeys(str(name) for source in sources for name in source.frame))
    names = ", ".join(source.name for source in sources)
    return [
        f"--column {ours}={theirs}: {names} has no column {theirs!r}{nearest(theirs, have)} "
        f"(columns: {', '.join(map(repr, have))})"
        for ours, theirs in columns.columns.items()
        if theirs not in have
    ]


def hints(others: Sequence[str], known: Collection[str]) -> list[str]:
    """Flags that would name columns which look like ours, where we have none."""
    found = []
    for ours, words in _HINTS.items():
        likely = [name for name in others if _plain(name) in (ours, *words)]
        if ours not in known and len(likely) == 1:
            found.append(f"--column {ours}={shlex.quote(likely[0])}")
    return found


def _plain(name: str) -> str:
    """A name without capitals, blanks and the unit in brackets behind it."""
    return re.sub(r"\s+", "_", re.sub(r"[(\[][^()\[\]]*[)\]]\s*$", "", name).strip().lower())
