"""One command does the work: each run leased, trained and committed by itself; runs of one shape share a step."""

from __future__ import annotations

import os
import subprocess
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jax
from pydantic import ValidationError

from scalelaw import architecture, compute, stopping
from scalelaw.errors import UserError
from scalelaw.runs import ResultsFolder, Run, files
from scalelaw.sweep import DataFacts, RunConfig, data_facts, identity, run_cost
from scalelaw.sweep.recipes import Recipe, rules_of
from scalelaw.train import data, loop, mesh, step
from scalelaw.train.capacity import check_capacity
from scalelaw.train.data import Order, Source
from scalelaw.train.trace import Trace

Emit = Callable[[dict[str, Any]], None]
ERROR_LINES = 12
DONE = ("finished", "diverged")


class Worker:
    """Trains runs of one results folder, keeping data and compiled programs between them.

    Args:
        results: the folder.
        emit: takes one event, a JSON object, for whoever watches.
    """

    def __init__(self, results: ResultsFolder, emit: Emit) -> None:
        self.results, self.emit = results, emit
        self.sweep = files.read_json(results.root / "sweep.json")
        self._sources: dict[str, Source] = {}
        self._programs: dict[object, step.Programs] = {}
        self._commit = commit()

    def work(self, run_ids: Sequence[str]) -> int:
        """Trains the runs that need it, in order. Returns how many failed.

        Passed over are runs that are finished, that another process has leased, or that another one has settled since
        this call began, even if they failed there: one call of a sweep tries a run once.
        """
        failed = 0
        configs = {run_id: self.config(run_id) for run_id in run_ids}
        stamps = {run_id: self._stamp(run_id) for run_id in run_ids}
        before = self.results.statuses(run_ids, held=False)
        for run_id, config in configs.items():
            with self.results.lease(run_id) as mine:
                if not mine:
                    self.emit({"run_id": run_id, "event": "leased elsewhere"})
                elif before[run_id] in DONE or self._stamp(run_id) != stamps[run_id]:
                    self.emit({"run_id": run_id, "event": "already done"})
                else:
                    failed += self.train(run_id, config) == "failed"
        return failed

    def _stamp(self, run_id: str) -> tuple[int, int] | None:
        """Tells one row of a run from a later one; None when it has none. Far cheaper than reading it."""
        try:
            facts = (self.results.run_path(run_id) / "row.parquet").stat()
        except OSError:
            return None
        return facts.st_ino, facts.st_mtime_ns

    def config(self, run_id: str) -> RunConfig:
        """The checked configuration of a run."""
        place = self.results.run_path(run_id) / "config.json"
        try:
            config = RunConfig.model_validate(self.results.config(run_id))
        except ValidationError as error:
            raise UserError(f"{place}: is not a run of this version ({error.error_count()} mistakes); "
                            "run scalelaw sweep again") from error  # fmt: skip
        if config.run_id != run_id:
            raise UserError(f"{place}: is the configuration of {config.run_id}, it was changed; remove the folder and "
                            "run scalelaw sweep again")  # fmt: skip
        return config

    def train(self, run_id: str, config: RunConfig) -> str:
        """Trains one leased run and commits its row. Returns its status; what goes wrong is the row's `error`."""
        started = datetime.now(UTC)
        attempts = int(self.results.noted(run_id).get("attempts", 0)) + 1
        noted = {"attempts": attempts, "pid": os.getpid(), "started_at": started.isoformat()}
        self.results.note(run_id, **noted)
        self.emit({"run_id": run_id, "event": "started", "variant": config.model.variant})
        row = Run(**identity.of_config(config), sweep=self.sweep["name"], hardware=jax.devices()[0].device_kind,
                  devices=1, attempts=attempts, commit=self._commit, started_at=started)  # fmt: skip
        try:
            row = replace(row, **identity.of_cost(run_cost(config, data_facts(config.data))))
            row, seconds = self._trained(row, config)
            self.results.note(run_id, **noted, seconds=seconds)
        except BrokenPipeError:
            raise  # whoever watches has gone: the run is interrupted, not failed
        except UserError as error:
            row = replace(row, status="failed", error="\n".join(error.messages))
        except Exception:
            stopping.raise_if_asked()  # a library may have turned a signal into an error of its own: no failure
            lines = traceback.format_exc().strip().splitlines()
            row = replace(row, status="failed", error="\n".join(lines[-ERROR_LINES:]))
        self.results.commit_row(row)
        self.emit({"run_id": run_id, "event": "done", "status": row.status, "val_loss": row.val_loss,
                   "images": row.images_seen, "seconds": row.train_seconds, "error": row.error})  # fmt: skip
        return str(row.status)

    def _trained(self, row: Run, config: RunConfig) -> tuple[Run, dict[str, float]]:
        """Trains. Returns the row filled in, and the seconds by kind of work."""
        assert row.run_id is not None
        assert row.macs_per_image is not None
        assert row.unique_images is not None
        device = known_hardware(str(row.hardware))
        source = self.source(config)
        rules = rules_of(config)
        programs, compile_seconds = self.programs(row.run_id, config, source, rules)
        order = Order(int(row.run_id, 16), row.unique_images, config.train.images, config.train.batch_size)
        assumed = self.sweep["utilisation"]
        schedule = loop.Schedule(
            order=order,
            peak_lr=config.train.peak_lr,
            evaluations=config.train.evaluations,
            seed=config.train.seed,
            core_hours_per_image=compute.core_hours(compute.train_flop(row.macs_per_image, 1), assumed),
        )

        def progress(images: int, speed: float) -> None:
            self.emit({"run_id": row.run_id, "event": "progress", "images": images, "images_per_second": speed})

        trace = Trace(self.results.run_path(row.run_id) / "trace")
        outcome = loop.run(schedule, programs, source, rules, trace, progress)
        flop = compute.train_flop(row.macs_per_image, outcome.images_seen)
        cost = compute.cost(flop, outcome.seconds["train"], programs.layout.devices, device, assumed)
        done = replace(
            row,
            status=outcome.status,
            epochs=outcome.images_seen / row.unique_images,
            images_seen=outcome.images_seen,
            train_seconds=outcome.seconds["train"],
            devices=programs.layout.devices,
            train_flop=flop,
            core_hours=cost.core_hours,
            core_hours_basis=cost.basis,
            utilisation=cost.utilisation,
            val_loss=outcome.val_loss,
            top1_error=outcome.top1_error,
            error=outcome.reason,
        )
        return done, {**outcome.seconds, "compile": compile_seconds}

    def source(self, config: RunConfig) -> Source:
        """The run's images, made once for each data configuration; their facts go to <dataset>-<images>.json."""
        key = files.canonical(config.data.model_dump(mode="json"))
        if key not in self._sources:
            source = self._sources[key] = data.load(config.data)
            path = self.results.root / f"{config.data.name}-{config.data.train_images}.json"
            if not path.exists():
                files.write_json(path, source.describe())
        return self._sources[key]

    def programs(self, run_id: str, config: RunConfig, source: Source, rules: Recipe) -> tuple[step.Programs, float]:
        """The compiled programs of the run's shape, built on first use, and the seconds that this took now."""
        model = architecture.variant(config.model.variant, config.model.family)
        shapes = tuple((name, array.shape, str(array.dtype)) for name, array in sorted(source.arrays.items()))
        layout = mesh.layout_for(config.train.batch_size, **self.sweep.get("devices", {}))
        key = (model, source.classes, config.train.batch_size, source.signature, shapes, rules, layout)
        if key in self._programs:
            return self._programs[key], 0.0
        facts = DataFacts(source.classes, source.resolution, source.train_images)
        check_capacity(config, facts, layout)
        self.emit({"run_id": run_id, "event": "compiling"})
        built = self._programs[key] = step.build(model, source, rules, config.train.batch_size, layout)
        return built, built.compile_seconds


def known_hardware(kind: str) -> compute.Hardware:
    """The hardware row of a JAX device kind; an unknown kind has no peak, so its cost is an estimate."""
    try:
        return compute.hardware(kind)
    except UserError:
        return compute.Hardware(kind, 1, None, "not in the hardware table")


def commit() -> str | None:
    """The commit of the code, None outside a checkout."""
    try:
        answer = subprocess.run(
            ["git", "rev-parse", "--short=12", "HEAD"],
            cwd=Path(__file__).parent, capture_output=True, text=True, timeout=5, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip() or None
