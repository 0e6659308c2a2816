"""A plan as a sweep's TOML: runs with the settings that earlier runs record, at the plan's sizes, lengths and rates.

A run's `config` column holds all that decides its outcome, but the place of an archive, which the results folder keeps.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scalelaw.compute import DEFAULT_UTILISATION
from scalelaw.errors import UserError
from scalelaw.plan.caveats import Caveat
from scalelaw.runs import RunTable, files, open_results
from scalelaw.runs.folder import PLACES

OWN = {
    "model": ("variant",),
    "train": ("images", "peak_lr", "seed", "batch_size"),
    "data": (
        "digest",
        "exclude_digest",
        "excluded_images",
        "holdout_exclude_digest",
        "excluded_holdout_images",
        "excluded_classes",
        *PLACES,
    ),
}
"""Settings of a run that the plan sets itself, or that a sweep's file has no key for."""


@dataclass(frozen=True)
class Recipe:
    """What a sweep of the planned runs needs.

    Attributes:
        name: of the runs' own sweep.
        utilisation: that the runs' core-hours assume.
        data, model, train: settings taken over from the runs.
        missing: one sentence for everything that the runs do not say; without them no TOML can be written.
    """

    name: str
    utilisation: float
    data: dict[str, Any]
    model: dict[str, Any]
    train: dict[str, Any]
    missing: tuple[str, ...] = ()


def recipe_of(done: RunTable, unique: float | None, batch: float | None) -> tuple[Recipe, list[Caveat]]:
    """The settings that the finished runs share, and what must be said about them.

    Args:
        done: finished runs.
        unique: training-set size of the plan, batch: its batch size; runs of others are not asked.
    """
    name = str(done.frame["sweep"].mode()[0]) if done.has("sweep") else "runs"
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", name).lstrip("-._") or "runs"
    found, asked = _settings(done, unique, batch)
    if not found:
        why = "record no config" if not done.has("config") else "have no config that names data, model and training"
        missing = f"{done.source}: its runs {why}; write [data], [model] and [train] of the plan's sweep by hand"
        return Recipe(name, DEFAULT_UTILISATION, {}, {}, {}, (missing,)), []
    counts = Counter(files.canonical(settings) for _, settings in found)
    commonest = counts.most_common(1)[0][0]
    run_id, settings = next(pair for pair in found if files.canonical(pair[1]) == commonest)
    caveats = []
    if len(counts) > 1 or len(found) < asked:
        sentence = f"the plan takes over those of {counts[commonest]} of {asked} runs; the others differ in more than "
        caveats.append(Caveat("settings differ", sentence + "size, length, rate and seed."))
    unsaid = []
    if settings["data"].get("source") != "hierarchy":
        places = _places(done, run_id)
        settings["data"].update(places)
        if "path" not in places:
            unsaid.append(f"{done.source}: does not say where its data lie; name the results folder of the sweep, or "
                           "write [data] path by hand")  # fmt: skip
    parts = settings["data"], settings["model"], settings["train"]
    return Recipe(name, _utilisation(done), *parts, tuple(unsaid)), caveats


def _settings(done: RunTable, unique: float | None, batch: float | None) -> tuple[list[tuple[str, Any]], int]:
    """(run id, settings less `OWN`) of the runs that record them, and how many runs were asked."""
    if not done.has("config"):
        return [], 0
    frame = done.frame
    for column, value in (("unique_images", unique), ("batch_size", batch)):
        if value is not None and done.has(column):
            frame = frame[frame[column] == value]
    ids = frame["run_id"].astype(str) if done.has("run_id") else frame.index.astype(str)
    found = []
    for run_id, text in zip(ids, frame["config"], strict=True):
        try:
            config = json.loads(text)
            settings = {part: {k: v for k, v in config[part].items() if k not in own} for part, own in OWN.items()}
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
        if "source" in settings["data"]:
            found.append((run_id, settings))
    return found, len(frame)


def _places(done: RunTable, run_id: str) -> dict[str, str]:
    """Where the results folder says that a run's data lie, as far as it says."""
    root = Path(done.source)
    try:
        found = open_results(done.source).config(run_id).get("data", {})
    except UserError:  # a folder without its runs keeps the sweep's file, whose paths were taken from where it was run
        record = (root if root.is_dir() else root.parent) / "sweep.json"
        try:
            found = tomllib.loads(files.read_json(record)["spec"])["data"]
        except (UserError, KeyError, TypeError, tomllib.TOMLDecodeError):
            return {}
    return {key: str(found[key]) for key in PLACES if found.get(key) is not None}


def _utilisation(done: RunTable) -> float:
    """The utilisation that estimated core-hours assume, where all assume one."""
    if done.has("utilisation") and done.has("core_hours_basis"):
        estimated = done.frame.loc[done.frame["core_hours_basis"] == "estimated", "utilisation"].dropna().unique()
        if len(estimated) == 1:
            return float(estimated[0])
    return DEFAULT_UTILISATION


@dataclass(frozen=True)
class Setting:
    """What a plan sets itself: runs of one model, length and learning rate.

    Attributes:
        variant, images, peak_lr: as the file is to have them; the rate is None where the runs tell none.
        seeds: one run for each.
    """

    variant: str
    images: int
    peak_lr: float | None
    seeds: tuple[int, ...] = (0,)


def toml_of(recipe: Recipe, ending: str, planned: Sequence[Setting], batch: float | None, head: Sequence[str]) -> str:
    """A sweep's TOML, a `[[part]]` for each setting after the first, checked as `scalelaw sweep` checks it.

    Args:
        recipe: what the runs share.
        ending: of the sweep's name, after that of the runs.
        planned: the runs.
        batch: their batch size; None when unknown.
        head: lines of comment above it.

    Raises:
        UserError: with one line for everything that is missing, or that a sweep refuses.
    """
    missing = list(recipe.missing)
    if any(one.peak_lr is None for one in planned):
        missing.append("the plan has no learning rate; add runs of two rates or more to a cell")
    if missing:
        raise UserError(*(f"no TOML: {line}" for line in missing))
    first, *others = planned
    batch_size = {} if batch is None else {"batch_size": int(batch)}
    sections: dict[str, dict[str, Any]] = {
        "[sweep]": {"name": f"{recipe.name}-{ending}", "utilisation": recipe.utilisation},
        "[data]": recipe.data,
        "[model]": {**recipe.model, "variants": [first.variant]},
        "[train]": {
            "images": first.images, "peak_lr": first.peak_lr, **batch_size, "seeds": list(first.seeds), **recipe.train,
        },
    }  # fmt: skip
    lines = [f"# {line}" for line in head]
    for name, values in sections.items():
        lines += ["", name, *_keys(values)]
    for one in others:
        changed = {"images": one.images, "peak_lr": one.peak_lr, "seeds": list(one.seeds)}
        own = {"model.variants": [one.variant], **{f"train.{key}": value for key, value in changed.items()}}
        lines += ["", "[[part]]", *_keys(own)]
    text = "\n".join(lines).lstrip("\n") + "\n"
    from scalelaw.sweep import check_spec, expand

    expand(check_spec(tomllib.loads(text), "the plan's TOML"))
    return text


def _keys(values: Mapping[str, Any]) -> list[str]:
    """Lines of a table: JSON's strings, numbers, booleans and lists of them are TOML's too."""
    return [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in values.items()]
