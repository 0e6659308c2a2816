"""What a back-test is given, checked once: the runs, what ranks them, and how laws are fitted to some of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scalelaw.backtest.split import Cost, checked_factor, clusters, cost
from scalelaw.fitting import Fit, Objective, fit
from scalelaw.fitting.checks import checked_weights, positive_arrays
from scalelaw.fitting.constraints import Bounds
from scalelaw.laws import Law
from scalelaw.newton import Space

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Trial:
    """Runs and settings of a back-test.

    Attributes:
        data: letter -> (runs,) values, L among them.
        ranked: what says which run is larger.
        cluster: (runs,) number of the run that each row belongs to.
        weights: (runs,) of the rows in a fit, above 0: rows of weight 0 are left out, held out or not.
        factor: how far below the largest the held-out runs begin, above 1.
        level: of the intervals.
        objective, space: as `scalelaw.fit` takes them.
    """

    data: Mapping[str, Array]
    ranked: Cost
    cluster: NDArray[np.int64]
    weights: Array
    factor: float
    level: float
    objective: Objective | None
    space: Space

    @classmethod
    def of(
        cls,
        laws: Sequence[type[Law]],
        variables: Mapping[str, ArrayLike],
        *,
        factor: float,
        compute: ArrayLike | None,
        labels: ArrayLike | None,
        level: float,
        objective: Objective | None,
        space: Space,
        weights: ArrayLike | None,
        held: Collection[str] = frozenset(),
    ) -> Trial:
        """Checks what the callers pass on; `held` are pinned parameters.

        Raises:
            UserError: for a factor that is not above 1, runs in no order, or what `fit` refuses.
        """
        factor = checked_factor(factor)
        letters = tuple(dict.fromkeys(letter for law in laws for letter in law.variables))
        ranked = cost(letters, variables, compute)
        data: dict[str, Array] = {}
        for law in laws:
            others = {*letters, "C"} - {*law.variables}  # another law's, or there to rank the runs
            own = {letter: values for letter, values in variables.items() if letter not in others}
            data |= positive_arrays(law, own, held)
        runs = len(data["L"])
        size = max(len(law.names()) for law in laws) - len(held)
        w, cluster = checked_weights(weights, runs, size), clusters(labels, runs)
        counts = w > 0  # what counts for nothing in a fit is no test of it either
        return cls(
            data={letter: values[counts] for letter, values in data.items()},
            ranked=Cost(ranked.name, ranked.values[counts]),
            cluster=cluster[counts],
            weights=w[counts],
            factor=factor,
            level=level,
            objective=objective,
            space=space,
        )

    def fitted(
        self,
        law: type[Law],
        rows: Mask | None = None,
        fix: Mapping[str, float] | None = None,
        bounds: Bounds | None = None,
    ) -> Fit:
        """The law fitted to some of the runs, by default to all."""
        kept = slice(None) if rows is None else rows
        return fit(
            law,
            objective=self.objective,
            space=self.space,
            weights=self.weights[kept],
            fix=fix,
            bounds=bounds,
            points=None,
            **self.of_law(law, kept),
        )

    def of_law(self, law: type[Law], rows: Mask | slice) -> dict[str, Array]:
        """Letter -> values of a law's variables and L in some of the runs."""
        return {letter: self.data[letter][rows] for letter in (*law.variables, "L")}
