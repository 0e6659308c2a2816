"""What a sweep will cost before it is run: core-hours, device-hours and dollars, time here, memory; run by run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scalelaw.architecture import Memory
from scalelaw.errors import UserError
from scalelaw.launch.speed import Expected
from scalelaw.plan.budget import PUBLISHED, Utilisation, measured_utilisation
from scalelaw.plan.cost import Cost, Range, cost_of
from scalelaw.plan.machines import Machines
from scalelaw.plan.models import Candidate
from scalelaw.runs import RunTable
from scalelaw.sweep import PlannedRun, Spec
from scalelaw.sweep.device_memory import memory_per_device
from scalelaw.sweep.remarks import remarks


@dataclass(frozen=True)
class Forecast:
    """A sweep's cost.

    Attributes:
        spec: what was asked for.
        planned: all of its runs.
        done: ids of those that are trained already.
        expected: seconds of each on this machine.
        workers: of this machine.
        memory: bytes of one device, run by run, in the layout of [devices].
        machines: hardware that time and money are asked for; None where none was named.
        costs: each run's on it.
    """

    spec: Spec
    planned: Sequence[PlannedRun]
    done: frozenset[str]
    expected: Expected
    workers: int
    memory: dict[str, Memory]
    machines: Machines | None
    costs: dict[str, Cost]

    @property
    def todo(self) -> list[PlannedRun]:
        """The runs left, those of a higher priority first."""
        return sorted((run for run in self.planned if run.run_id not in self.done), key=lambda run: -run.priority)

    @property
    def seen(self) -> bool:
        """Whether all images have been looked at; else ids are not known yet."""
        return all(run.config.data.seen for run in self.planned)

    def device_hours(self, runs: Sequence[PlannedRun]) -> Range | None:
        """Of runs, all devices together; None without named hardware."""
        return _total([self.costs[run.run_id].device_hours for run in runs]) if self.costs else None

    def dollars(self, runs: Sequence[PlannedRun]) -> Range | None:
        """Of runs; None without a price."""
        found = [cost for run in runs if self.costs and (cost := self.costs[run.run_id].dollars) is not None]
        return _total(found) if found else None

    def minutes(self) -> float:
        """Wall-clock minutes of what is left, on this machine."""
        return self.expected.minutes(self.todo, self.workers)

    def notes(self) -> list[str]:
        """Sentences on what device-hours and dollars rest on, each once, with the models that it holds for."""
        about: dict[str, dict[str, str]] = {}
        for run in self.planned:
            variant = run.config.model.variant
            for note in self.costs[run.run_id].notes if self.costs else ():
                about.setdefault(note.replace(f" {variant} ", " VARIANT "), {}).setdefault(variant, note)
        found = []
        for said in about.values():
            first, *others = said.values()
            also = "" if not others or first in others else f" The same holds for {', '.join(list(said)[1:])}."
            found.append(first + also)
        return found

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, None for what is unknown; memory in bytes."""
        sweep, hours, dollars = self.spec.sweep, self.device_hours(self.planned), self.dollars(self.planned)
        return {
            "name": sweep.name,
            "note": sweep.note,
            "utilisation": sweep.utilisation,
            "data_seen": self.seen,
            "core_hours": sum(run.cost.core_hours for run in self.planned),
            "core_hours_left": sum(run.cost.core_hours for run in self.todo),
            "minutes_left": self.minutes(),
            "workers": self.workers,
            "hardware": None if self.machines is None else self.machines.hardware,
            "devices": None if self.machines is None else self.machines.devices,
            "price_per_device_hour": None if self.machines is None else self.machines.price_per_device_hour,
            "device_hours": None if hours is None else hours.to_dict(),
            "dollars": None if dollars is None else dollars.to_dict(),
            "notes": [*remarks(self.planned), *self.notes()],
            "runs": [self._run(run) for run in self.planned],
        }

    def _run(self, run: PlannedRun) -> dict[str, Any]:
        cost = self.costs.get(run.run_id)
        return {
            "run_id": run.run_id if run.config.data.seen else None,
            "status": "done" if run.run_id in self.done else "left",
            "priority": run.priority,
            "family": run.config.model.family,
            "variant": run.config.model.variant,
            "epochs": run.cost.epochs,
            "unique_images": run.cost.facts.train_images,
            "resolution": run.cost.facts.resolution,
            "classes": run.cost.facts.classes,
            "images": run.config.train.images,
            "batch_size": run.config.train.batch_size,
            "peak_lr": run.config.train.peak_lr,
            "seed": run.config.train.seed,
            "config": run.config.to_json(),
            "train_flop": run.cost.train_flop,
            "core_hours": run.cost.core_hours,
            "seconds": self.expected.seconds[run.run_id],
            "seconds_basis": self.expected.basis[run.run_id],
            "memory_bytes": self.memory[run.run_id].total,
            "device_hours": None if cost is None else cost.device_hours.to_dict(),
            "dollars": None if cost is None or cost.dollars is None else cost.dollars.to_dict(),
        }


def forecast(
    spec: Spec,
    planned: Sequence[PlannedRun],
    done: frozenset[str],
    expected: Expected,
    workers: int,
    machines: Machines | None = None,
    rows: RunTable | None = None,
) -> Forecast:
    """The cost of a sweep.

    Args:
        planned: its runs, from `scalelaw.sweep.expand`.
        done: ids of those trained already.
        expected: seconds of each here.
        workers: processes here.
        machines: hardware to ask time and money for.
        rows: runs of this sweep; those on that hardware say what share of its peak is reached.

    Raises:
        UserError: where the devices cannot share a batch evenly.
    """
    memory = {run.run_id: memory_per_device(run.config, run.cost.facts, spec.devices) for run in planned}
    costs = {} if machines is None else {run.run_id: _cost(spec, run, machines, rows) for run in planned}
    return Forecast(spec, planned, done, expected, workers, memory, machines, costs)


def machines_of(
    spec: Spec, hardware: str | None, devices: int | None, price: float | None, utilisation: float | None
) -> Machines | None:
    """The hardware that flags ask for, what they leave out taken from the spec's [devices]; None without flags.

    Raises:
        UserError: for a price, a number of devices or a utilisation without hardware.
    """
    given = {"--hardware": hardware, "--devices": devices, "--price": price, "--utilisation": utilisation}
    flags = [flag for flag, value in given.items() if value is not None]
    if not flags:
        return None
    named = hardware or spec.devices.hardware
    if named is None:
        raise UserError(f"sweep: {' and '.join(flags)}: needs --hardware too; add it, or leave {flags[0]} out")
    return Machines(named, spec.devices.planned if devices is None else devices, price, utilisation)


def _cost(spec: Spec, run: PlannedRun, machines: Machines, rows: RunTable | None) -> Cost:
    size, variant = run.cost.size, run.config.model.variant
    return cost_of(
        run.cost.train_flop,
        Candidate(variant, size.params, float(size.macs_per_image)),
        hardware=machines.hardware,
        devices=machines.devices,
        batch_size=run.config.train.batch_size,
        price_per_device_hour=machines.price_per_device_hour,
        measured=_share(spec, variant, machines, rows),
    )


def _share(spec: Spec, variant: str, machines: Machines, rows: RunTable | None) -> Utilisation:
    """The share of the hardware's peak: given, measured in this sweep, the spec's own, or published."""
    if machines.utilisation is not None:
        return _exactly(machines.utilisation, "given", "as given")
    measured = None if rows is None else measured_utilisation(rows, machines.hardware, variant)
    if measured is not None:
        return measured
    own = "utilisation" in spec.sweep.model_fields_set
    return _exactly(spec.sweep.utilisation, "given", "the spec's own") if own else PUBLISHED


def _exactly(share: float, basis: str, note: str) -> Utilisation:
    return Utilisation(share, share, share, basis, note)


def _total(ranges: Sequence[Range]) -> Range:
    return Range(*(sum(getattr(one, end) for one in ranges) for end in ("low", "mid", "high")))
