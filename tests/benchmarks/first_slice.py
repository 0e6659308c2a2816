"""Training steps of a small network at the commit of the first slice, timed like `steps.py`: its package must be first
on the path. Usage: python first_slice.py VARIANT BATCH
"""

import json
import sys
import time

import jax
import numpy as np

from scalelaw import architecture
from scalelaw.train import recipe, step
from scalelaw.train.data import hierarchy

variant, batch = architecture.variant(sys.argv[1]), int(sys.argv[2])
source = hierarchy.make(
    train_images=32768, classes=16, levels=3, patch=1, rules=(256, 1, 16), zipf_a=(0.5, "uniform", 1.0)
)
programs = step.build(variant, source, recipe.recipe("pretrain"), batch)
params, momentum = programs.start(0)
weights, rate = np.ones(batch, np.float32), np.float32(1e-3)
print(json.dumps({"compile_seconds": programs.compile_seconds}), flush=True)
for line in sys.stdin:
    start = time.perf_counter()
    for k in range(int(line)):
        indices = np.arange(k * batch, (k + 1) * batch, dtype=np.int32)
        params, momentum, _ = programs.train(params, momentum, source.arrays, indices, weights, rate)
    jax.block_until_ready(params)
    print(json.dumps({"seconds": time.perf_counter() - start}), flush=True)
