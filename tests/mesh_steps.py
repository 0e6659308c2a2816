"""Trains 20 steps on every mesh named on the command line, in a process with fake devices; prints losses as JSON.

    XLA_FLAGS=--xla_force_host_platform_device_count=8 python tests/mesh_steps.py 1x1 8x1 4x2x2 2x4x1xremat

A mesh is data x params [x accumulated parts [x remat]]. With `--process I OF PORT` first, the process is one of several
that make one mesh together; with `--share S` before the meshes, steps are sharpness-aware, on that share of a batch.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import jax
import numpy as np

STEPS, BATCH = 20, 32


def main(words: list[str]) -> None:
    if words[0] == "--process":
        index, count, port = map(int, words[1:4])
        words = words[4:]
        jax.distributed.initialize(f"127.0.0.1:{port}", num_processes=count, process_id=index)
    share = 0.0
    if words[0] == "--share":
        share, words = float(words[1]), words[2:]
    from scalelaw import architecture
    from scalelaw.sweep import recipes
    from scalelaw.train import mesh, step
    from scalelaw.train.data import Order, hierarchy

    variant = architecture.Variant("test", "nfnet", (8, 16), (1, 1), (1, 2), (8,), (1,), None)
    source = hierarchy.make(train_images=500, holdout_images=100, classes=8, symbols=8, levels=2, rules=4)
    rules = replace(recipes.recipe("imagenet"), dropout=0.2, warmup_epochs=0.5, ema=0.9)
    if share:
        rules = replace(rules, sam_radius=0.5, sam_share=share)
    order = Order(3, source.train_images, STEPS * BATCH - 10, BATCH)  # the last batch is short
    answer = {}
    for word in words:
        data, params, *more = word.split("x")
        layout = mesh.Layout(int(data), int(params), int(more[0]) if more else 1, more[1:] == ["remat"])
        programs = step.build(variant, source, rules, BATCH, layout)
        state, losses = programs.start(5), []
        for batch in source.feed(order, 0, programs.rows):
            state, metrics = programs.train(state, source.arrays, batch, np.float32(0.2))
            losses.append(float(metrics["loss"]))
        held = [programs.evaluate(state, source.arrays, batch)
                for batch in source.held_out(programs.evaluation_size, None, programs.evaluation_rows)]  # fmt: skip
        sums = {name: sum(float(part[name]) for part in held) for name in held[0]}
        cut = {str(x.sharding.spec) for x in jax.tree.leaves(state["params"])}
        answer[word] = {"losses": losses, "sums": sums, "devices": jax.device_count(), "cut": sorted(cut)}
    print(json.dumps(answer))


if __name__ == "__main__":
    main(sys.argv[1:])
