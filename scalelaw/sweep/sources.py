"""Which keys of [data] belong to which source, and what is wrong with those of images on disk."""

from __future__ import annotations

from collections.abc import Iterator

from scalelaw.sweep.config import DataSection

_SPLIT = {"source", "path", "train_images", "holdout_images", "seed", "digest"}
_GRAMMAR = {"classes", "symbols", "levels", "rules", "branching", "patch", "zipf_a", "noise", "task_seed", "new_levels"}
_EXCLUSION = {"exclude", "exclude_digest", "excluded_images", "holdout_exclude", "holdout_exclude_digest",
              "excluded_holdout_images", "excluded_classes"}  # fmt: skip
_FILES = {
    *_SPLIT, *_EXCLUSION, "holdout_path", "classes", "augment", "resolution",
    "eval_resolution", "crop_area", "crop_aspect", "pixel_mean", "pixel_std", "max_corrupt", "decode_threads",
}  # fmt: skip
_COLUMNS = {"image_key", "label_key"}
KEYS: dict[str, set[str]] = {
    "hierarchy": {"source", "train_images", "holdout_images", "seed", "augment", *_GRAMMAR},
    "npz": {*_SPLIT, *_EXCLUSION, "augment"},
    "cifar10": {*_SPLIT, *_EXCLUSION, "augment"},
    "cifar100": {*_SPLIT, *_EXCLUSION, "augment"},
    "folder": _FILES,
    "parquet": _FILES | _COLUMNS | {"cache"},
    "arrayrecord": _FILES | _COLUMNS,
}
WHAT = {
    "npz": "reads a NumPy archive",
    "cifar10": "reads a folder with the official binary files",
    "cifar100": "reads a folder with the official binary files",
    "folder": "reads a folder with a folder of images for each class",
    "parquet": "reads Parquet files",
    "arrayrecord": "reads ArrayRecord files",
}
LEAST_SIDE, MOST_SIDE = 8, 2048


def mistakes(data: DataSection) -> list[str]:
    """What is wrong with the settings themselves, as `[data] key: what; the mend`, before anything is read."""
    return [*_foreign(data), *_wrong(data)] if data.source != "hierarchy" else list(_foreign(data))


def _foreign(data: DataSection) -> Iterator[str]:
    foreign = data.model_fields_set - KEYS[data.source] - ({"path"} if data.source == "hierarchy" else set())
    generated = sorted(foreign & _GRAMMAR)
    if generated:
        yield (f"[data] {', '.join(generated)}: belong to the built-in images, source = {data.source!r} has none; "
               "leave them out")  # fmt: skip
    for key in sorted(foreign - _GRAMMAR):
        owners = " or ".join(repr(source) for source, keys in KEYS.items() if key in keys)
        yield f"[data] {key}: source = {data.source!r} has no such setting ({owners} has); leave it out"


def _wrong(data: DataSection) -> Iterator[str]:
    if not data.path:
        yield f"[data] path: is missing; source = {data.source!r} {WHAT[data.source]}"
    for key in ("holdout_path", "exclude", "holdout_exclude", "cache", "image_key", "label_key"):
        if getattr(data, key) == "":
            yield f"[data] {key}: is empty; name something or leave it out"
    for key in ("resolution", "eval_resolution"):
        side = getattr(data, key)
        if side is not None and not LEAST_SIDE <= side <= MOST_SIDE:
            yield f"[data] {key}: must be a whole number from {LEAST_SIDE} to {MOST_SIDE}, not {side}"
    if data.augment == "noise":
        yield "[data] augment: 'noise' is of the built-in images alone; use 'none', 'flip' or 'crop-flip'"
    low, high = data.crop_area
    if not low <= high <= 1:
        yield f"[data] crop_area: must be two shares, the lower first, at most 1, not [{low:g}, {high:g}]"
    low, high = data.crop_aspect
    if not low <= high:
        yield f"[data] crop_aspect: must be two ratios, the lower first, not [{low:g}, {high:g}]"
