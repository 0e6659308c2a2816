"""Where parameters begin, before the first step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from scipy import special


@dataclass(frozen=True)
class Start:
    """Where parameters begin: of type `dtype`, drawn from `rng`; without one only shapes (`jax.ShapeDtypeStruct`).

    NumPy draws and keeps them: it is the same on every backend and takes no compiling (5 s for a nano model on one
    core), not even of a copy for every shape.
    """

    dtype: DTypeLike = jnp.float32
    rng: np.random.Generator | None = None

    def normal(self, shape: tuple[int, ...], std: float, cut: float = math.inf) -> nnx.Param[Any]:
        """Draws from N(0, std^2), of which only values within `cut` standard deviations are kept."""
        if self.rng is None:
            return self.full(shape, 0.0)
        if cut < math.inf:
            z = special.ndtri(self.rng.uniform(special.ndtr(-cut), special.ndtr(cut), shape))
        else:
            z = self.rng.standard_normal(shape)
        return nnx.Param(np.asarray(std * z, self.dtype))

    def full(self, shape: tuple[int, ...], value: float) -> nnx.Param[Any]:
        """The same value everywhere."""
        if self.rng is None:
            return nnx.Param(jax.ShapeDtypeStruct(shape, self.dtype))
        return nnx.Param(np.full(shape, value, self.dtype))
