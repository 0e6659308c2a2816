"""Whatever stands in a spec, the answer is runs or one line for every mistake; never a traceback."""

from __future__ import annotations

import copy
import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from scalelaw.errors import UserError
from scalelaw.sweep import check_spec, expand

GOOD: dict[str, Any] = {
    "priority": 1,
    "sweep": {"name": "t", "note": "words", "utilisation": 0.4},
    "devices": {"remat": True},
    "data": {"source": "hierarchy", "train_images": [100, 200], "noise": 0.1, "rules": [8, 4], "classes": 4},
    "model": {"variants": ["N0"]},
    "train": {"epochs": [1, 2], "peak_lr": {"around": 1, "points": 2}, "recipe": "pretrain"},
    "zip": [{"train": {"seeds": [1, 2], "batch_size": [8, 16]}}],
    "exclude": [{"train": {"epochs": 2, "seeds": [1]}}],
    "first": [{"data": {"train_images": 100}, "priority": 3}],
    "part": [
        {"train": {"images": 7, "peak_lr": "around 2 by factors of 2, 2 points"}, "priority": -1},
        {"zip": [{"data": {"rules": [[8, 4], 4]}, "train": {"epochs": [[1, 2], 3]}}],
         "exclude": [{"train": {"seeds": 2}}]},
    ],
}  # fmt: skip
JUNK = [None, True, 0, -1, 3.5, float("nan"), float("inf"), 10**400, "", "N1", "around", "around 1, 2 points", [], {},
        [[]], [{}], [1, "a"], [[1], [2]], {"a": 1}, {"around": 2}, {"train": 1}, {"train": {"seeds": 0}},
        {"data": {"rules": [1, 2]}}]  # fmt: skip
WORDS = [
    *GOOD,
    "epochs",
    "seeds",
    "layout",
    "variants",
    "family",
    "rules",
    "zipf_a",
    "crop_area",
    "path",
    "x",
    "",
    "a.b",
]


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) inside."""
    inside = list(value.items()) if isinstance(value, dict) else list(enumerate(value))
    found = [(value, key) for key, _ in inside]
    return found + [place for _, below in inside if isinstance(below, dict | list) for place in places(below)]


def mangled(seed: int) -> dict[str, Any]:
    """The good spec with a few things replaced, taken away, added or copied."""
    rng = random.Random(seed)
    spec = copy.deepcopy(GOOD)
    for _ in range(rng.randint(1, 4)):
        spots = places(spec)
        if not spots:
            break
        container, key = rng.choice(spots)
        kind = rng.choice(["replace", "replace", "drop", "add", "move"])
        if kind == "replace":
            container[key] = copy.deepcopy(rng.choice(JUNK))
        elif kind == "drop":
            del container[key]
        elif kind == "add" and isinstance(container, dict):
            container[rng.choice(WORDS)] = copy.deepcopy(rng.choice(JUNK))
        elif kind == "move":
            other, spot = rng.choice(spots)
            container[key] = copy.deepcopy(other[spot])
    return spec


def test_what_is_mangled_is_good_at_first():
    assert len(expand(check_spec(GOOD, "spec.toml"))) > 10


@given(st.integers(0, 2**32))
@settings(max_examples=150, deadline=None)
def test_a_mangled_spec_is_runs_or_lines(seed):
    runs, lines = [], ()
    try:
        runs = expand(check_spec(mangled(seed), "spec.toml"))
    except UserError as error:
        lines = error.messages
    assert bool(runs) != bool(lines)
    assert all(line.startswith("spec.toml: ") and "\n" not in line for line in lines)
    assert len(set(lines)) == len(lines)
    assert len({run.run_id for run in runs}) == len(runs)
