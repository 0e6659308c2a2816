"""What is asked, ready for the choice: gradients, Jacobians and features of runs and cells in every world."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scalelaw.plan.design.basis import Basis
from scalelaw.plan.design.cells import Cells
from scalelaw.plan.design.estimated import Estimated, Ground
from scalelaw.plan.design.form_error import FormError
from scalelaw.plan.design.information import Information, Question, Scales
from scalelaw.plan.design.scales import drawn
from scalelaw.plan.design.scenarios import Scenarios
from scalelaw.plan.design.seeds import Seeds
from scalelaw.plan.design.worlds import Want

Array = NDArray[np.float64]
Labels = NDArray[np.int64]
Told = Information | Scenarios | Estimated


@dataclass(frozen=True, eq=False)
class Questions:
    """The runs so far and the cells that could be bought, in every world.

    Attributes:
        known: the runs.
        grid: the cells.
        log_work: ln N + ln D at the target.
        form: expansion of the form's error.
        scales: standard deviations in every world.
        sized: whether effects of size are among them.
        run_sizes, cell_sizes: number of each run's and each cell's size; multiply-adds within a millionth are one.
    """

    known: Basis
    grid: Cells
    log_work: float
    form: FormError
    scales: Scales
    sized: bool
    run_sizes: Labels
    cell_sizes: Labels

    @classmethod
    def of(cls, known: Basis, grid: Cells, log_work: float) -> Questions:
        """For runs and cells, and a target."""
        best = known.worlds.best(log_work)[:, :, 0].T
        ends = np.quantile(best, [0.1, 0.9], axis=1).T
        form = FormError.over(np.concatenate([known.x, grid.x, ends], axis=1))
        macs = np.round(np.concatenate([known.x[0], grid.x[0]]), 6)
        numbers = np.unique(macs, return_inverse=True)[1].ravel()
        run_sizes, cell_sizes = np.split(numbers, [known.x.shape[1]])
        point = known.surface.point
        jacobian = point.curve(point.problem.x)[1].T[:, point.free]
        bent = FormError.over(known.x).features(known.x)  # of the runs alone: what they say depends on no spend
        scales, sized = drawn(len(known.worlds), jacobian, known.surface.residuals, run_sizes, known.settings, bent)
        return cls(known, grid, log_work, form, scales, sized, run_sizes, cell_sizes)

    def information(self, want: Want) -> Told:
        """What the runs so far say of an answer; of size and loss under each form that the truth may have, of the loss
        as it is estimated by `plan.average`."""
        worlds, x = self.known.worlds, self.known.x
        log_loss = np.log(self.known.runs.val_loss.astype(float))
        if want == "loss":
            ground = Ground.of(worlds, self.scales, x, self.grid.x, self.cell_sizes, self.log_work)
            return Estimated.of(ground, x, self.run_sizes, log_loss)
        if want == "size":
            sums = Information.of(
                self._question(want, 0), worlds.jacobian(x), self.run_sizes, np.empty((x.shape[1], 0))
            )
            stencil = worlds.stencil(want, self.log_work)
            return Scenarios.of(sums, worlds, x, log_loss, self.grid.x, stencil)
        features = self.form.features(x)
        question = self._question(want, features.shape[1])
        return Information.of(question, worlds.jacobian(x), self.run_sizes, features)

    def _question(self, want: Want, count: int) -> Question:
        """With the first `count` features of the form's error."""
        worlds = self.known.worlds
        points, factors = worlds.stencil(want, self.log_work)
        return Question(
            gradient=worlds.gradient(want, self.log_work),
            jacobian=worlds.jacobian(self.grid.x),
            sizes=self.cell_sizes,
            features=self.form.features(self.grid.x)[:, :count],
            answer_features=np.einsum("wp,wpf->wf", factors, self.form.features(points))[:, :count],
            scales=self.scales,
        )

    def with_seeds(self, told: Told, seeds: Seeds) -> Told:
        """With further seeds of a run that there is."""
        x = self.known.x[:, [seeds.run]]
        jacobian, size = self.known.worlds.jacobian(x)[:, 0], int(self.run_sizes[seeds.run])
        if isinstance(told, Estimated):
            return told.with_runs(told.ground.rows(x)[:, 0], size, seeds.count)
        if isinstance(told, Scenarios):
            return told.with_runs(jacobian, size, told.at_runs[:, :, seeds.run], seeds.count)
        return told.with_runs(jacobian, size, self.form.features(x)[0], seeds.count)
