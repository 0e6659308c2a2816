"""What a spec of fine-tuned runs need not say: the recipe `finetune`, and lengths, rates and sides that go with it.

They are those of *ConvNets Match Vision Transformers at Scale* (arXiv 2310.16764) and of its recipe's source (arXiv
2102.06171, appendix A.5): 50 epochs, 2048 images a step, rates around 0.1, 384 pixels in training and 480 in
evaluation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from scalelaw import architecture
from scalelaw.sweep import disk
from scalelaw.sweep.config import DataConfig
from scalelaw.sweep.facts import data_facts
from scalelaw.sweep.grids import LENGTHS, Key
from scalelaw.sweep.layers import Layer, Located
from scalelaw.sweep.parents import Parent
from scalelaw.sweep.sections import ModelSection
from scalelaw.sweep.sources import KEYS

RECIPE = "finetune"
EPOCHS, BATCH_SIZE = 50, 2048
RATES = {"around": 0.1, "factor": 2, "points": 3}
TRAIN_SIDE, EVAL_SIDE = 384, 480


def completed(settings: dict[Key, Located], layer: Layer) -> dict[Key, Located]:
    """The settings of a grid, with what fine-tuning means where they are silent; others as they are.

    Args:
        layer: the file, for messages.
    """
    parents = any(section == "parent" for section, _ in settings)
    recipe = settings.get(("train", "recipe"))
    if not (_is_finetune(recipe.value) if recipe else parents):
        return settings
    silent: dict[Key, Any] = {} if recipe else {("train", "recipe"): RECIPE}
    if not any(("train", length) in settings for length in LENGTHS):
        silent["train", "epochs"] = EPOCHS
    silent |= {("train", "batch_size"): BATCH_SIZE, ("train", "peak_lr"): RATES}
    source, side = settings.get(("data", "source")), settings.get(("data", "resolution"))
    if source is not None and "resolution" in KEYS.get(str(source.value), ()):
        given = TRAIN_SIDE if side is None else side.value
        silent["data", "resolution"] = given
        if isinstance(given, int):
            silent["data", "eval_resolution"] = round(given * EVAL_SIDE / TRAIN_SIDE)
    return {**{key: Located(value, layer, key) for key, value in silent.items()}, **settings}


def _is_finetune(recipe: Any) -> bool:
    return recipe in (RECIPE, [RECIPE])


def side_mistakes(data: DataConfig, starts: Sequence[Parent], asked: ModelSection | None) -> list[str]:
    """Networks that shrink the images to less than a pixel, so that they would see little but their own padding."""
    sides = {"resolution": data_facts(data).resolution}
    if data.source in disk.SOURCES:
        sides["eval_resolution"] = data.eval_side
    name, side = min(sides.items(), key=lambda each: each[1])
    for model in dict.fromkeys(start.section(asked) for start in starts if start.model or asked):
        one = architecture.variant(model.variants[0], model.family[0])
        stride = math.prod((*one.stem_strides, *(block.stride for block in one.blocks)))
        if side < stride:
            return [f"[data] {name}: images of {side} pixels are too small for {one.name}, which shrinks them "
                    f"{stride}-fold; give at least {stride}"]  # fmt: skip
    return []
