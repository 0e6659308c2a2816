"""One command does the work: each run leased, trained and committed by itself; runs of one shape share a step."""

from __future__ import annotations

import os
import subprocess
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jax
from pydantic import ValidationError

from scalelaw import architecture, stopping
from scalelaw.errors import UserError
from scalelaw.runs import ResultsFolder, Run, files, parent_twins, progress
from scalelaw.runs.lease import Lease, LeaseLost
from scalelaw.sweep import DataConfig, DataFacts, RunConfig, data_facts, identity, run_cost
from scalelaw.sweep.recipes import Recipe, rules_of
from scalelaw.sweep.sections import SweepSection
from scalelaw.train import data, mesh, processes, single, step
from scalelaw.train.capacity import check_capacity
from scalelaw.train.data import Source, twins
from scalelaw.train.data.hierarchy import Hierarchy
from scalelaw.train.origin import Elsewhere
from scalelaw.train.schedule import Held

Emit = Callable[[dict[str, Any]], None]
ERROR_LINES = 12
DONE = ("finished", "diverged")
ELSEWHERE = "leased elsewhere"
WATCH_SECONDS = 1.0


class Worker:
    """Trains runs of one results folder, keeping data and compiled programs between them.

    Args:
        results: the folder.
        emit: takes one event, a JSON object, for whoever watches.
        threads: CPU threads of a training step, None when nobody has set them.
        any_devices: whether to go on from checkpoints that were made on other devices.
        stop_at: share of the schedule at whose next evaluation runs are held, with a checkpoint; None for their end.
    """

    def __init__(
        self,
        results: ResultsFolder,
        emit: Emit,
        *,
        threads: int | None = None,
        any_devices: bool = False,
        stop_at: float | None = None,
    ) -> None:
        self.results, self.threads, self.any_devices, self.stop_at = results, threads, any_devices, stop_at
        self.emit: Emit = emit if processes.leads() else lambda event: None
        self.sweep = files.read_json(results.root / "sweep.json")
        known = {name: self.sweep[name] for name in SweepSection.model_fields if name in self.sweep}
        self.settings = SweepSection.model_validate(known)
        self._sources: dict[str, Source] = {}
        self._programs: dict[object, step.Programs] = {}
        self._commit = commit()

    def work(self, run_ids: Sequence[str]) -> int:
        """Trains the runs that need it, in order. Returns how many failed.

        Passed over are runs that are finished, that another process has leased, or that another one has settled since
        this call began, even if they failed there: one call of a sweep tries a run once. What another machine has
        leased is watched at the end, for as long as only time can tell whether that machine still lives.
        """
        configs = {run_id: self.config(run_id) for run_id in run_ids}
        self._stamps = {run_id: self.results.stamp(run_id) for run_id in run_ids}
        self._before = self.results.statuses(run_ids, held=False)
        outcomes = {run_id: self._turn(run_id, config) for run_id, config in configs.items()}
        passed = [run_id for run_id, outcome in outcomes.items() if outcome == ELSEWHERE]
        for run_id in passed:
            if self._found_silent(run_id):
                outcomes[run_id] = self._turn(run_id, configs[run_id])
        return list(outcomes.values()).count("failed")

    def _turn(self, run_id: str, config: RunConfig) -> str:
        """Trains a run if it needs it and nobody else has it. Returns its status, or why it was passed over."""
        if processes.led(self._before[run_id] in DONE and self.results.is_tidy(run_id)):
            self.emit({"run_id": run_id, "event": "already done"})
            return "already done"
        try:
            if not processes.led(self.results.has(run_id)):
                raise LeaseLost(f"{self.results.run_path(run_id)}: was removed; scalelaw sweep makes it again")
            with self._lease(run_id) as (mine, held):
                if not mine:
                    self.emit({"run_id": run_id, "event": ELSEWHERE})
                    return ELSEWHERE
                if processes.led(self._before[run_id] in DONE or self.results.stamp(run_id) != self._stamps[run_id]):
                    self._discard(run_id)  # killed right after its row was written
                    self.emit({"run_id": run_id, "event": "already done"})
                    return "already done"
                return self.train(run_id, config, held)
        except LeaseLost as lost:
            if not processes.alone():
                raise SystemExit(stopping.PREEMPTED) from lost  # the others wait for this one's next step
            self.emit({"run_id": run_id, "event": "lost", "reason": str(lost)})
            return "lost"

    @contextmanager
    def _lease(self, run_id: str) -> Iterator[tuple[bool, Lease | None]]:
        """Whether the run may be trained, and its lease, which with several processes the leader holds for all."""
        if processes.leads():
            with self.results.lease(run_id) as held:
                yield processes.led(bool(held)), held
        else:
            yield processes.led(False), None

    def _found_silent(self, run_id: str) -> bool:
        """Watches another machine's lease until it moves, ends, or has been silent for too long, which it returns."""
        watched = None
        while processes.led((claim := self.results.must_watch(run_id)) is not None):
            if claim is not None and watched is None:
                watched = claim
                self.emit({"run_id": run_id, "event": "watched", "host": claim.place.host, "seconds": claim.seconds})
            time.sleep(WATCH_SECONDS)
            stopping.raise_if_asked()
        return processes.led(watched is not None and not self.results.is_held(run_id))

    def config(self, run_id: str) -> RunConfig:
        """The checked configuration of a run."""
        place = self.results.run_path(run_id) / "config.json"
        try:
            config = RunConfig.model_validate(self.results.config(run_id))
        except ValidationError as error:
            names = {".".join(map(str, mistake["loc"])) for mistake in error.errors()
                     if mistake["type"] == "extra_forbidden"}  # fmt: skip
            if len(names) == error.error_count():
                raise UserError(f"{place}: has settings that this version of scalelaw does not know "
                                f"({', '.join(sorted(names))}); update it") from error  # fmt: skip
            raise UserError(f"{place}: is not a run of this version ({error.error_count()} mistakes); "
                            "run scalelaw sweep again") from error  # fmt: skip
        if config.run_id != run_id:
            raise UserError(f"{place}: is the configuration of {config.run_id}, it was changed; remove the folder and "
                            "run scalelaw sweep again")  # fmt: skip
        return config

    def train(self, run_id: str, config: RunConfig, held: Lease | None = None) -> str:
        """Trains one leased run and commits its row. Returns its status; what goes wrong is the row's `error`.

        Raises:
            LeaseLost: when the run has become another process's meanwhile; its row is that one's to write.
            Elsewhere: as `single.trained`.
        """
        started = datetime.now(UTC)
        if processes.leads():
            self.results.drop_torn(run_id)
        attempts = int(self.results.noted(run_id).get("attempts", 0)) + processes.leads()
        noted = {"attempts": attempts, "pid": os.getpid(), "started_at": started.isoformat()}
        self._note(run_id, held, noted)
        self.emit({"run_id": run_id, "event": "started", "variant": config.model.variant,
                   "images": config.train.images})  # fmt: skip
        row = Run(**identity.of_config(config), sweep=self.sweep["name"], hardware=jax.devices()[0].device_kind,
                  devices=1, attempts=attempts, commit=self._commit, started_at=started)  # fmt: skip
        with stopping.deferred():  # between two steps, or when the row is written
            try:
                with stopping.at_once() if processes.alone() else nullcontext():  # several stop at the same step
                    row = replace(row, **identity.of_cost(run_cost(config, data_facts(config.data))))
                    source, rules = self.source(config), rules_of(config)
                    programs, compile_seconds = self.programs(run_id, config, source, rules)
                row = replace(row, devices=programs.layout.devices)
                row, seconds = single.trained(row, config, source, rules, programs, self._habits(run_id, held))
                self._note(run_id, held, {**noted, "seconds": {**seconds, "compile": compile_seconds}})
            except Held:  # it has no row, and is pending until it is to go on
                self._note(run_id, held, {**noted, "held_at": self.stop_at})
                self.emit({"run_id": run_id, "event": "done", "status": "pending", "val_loss": None, "top1_error": None,
                           "images": None, "seconds": None, "error": None})  # fmt: skip
                return "pending"
            except (BrokenPipeError, Elsewhere, LeaseLost):
                raise  # whoever watches has gone, or the run cannot go on here: it has not failed
            except UserError as error:
                row = replace(row, status="failed", error="\n".join(error.messages))
            except Exception as error:
                stopping.raise_if_asked()  # a library may have turned a signal into an error of its own: no failure
                if processes.lost_another(error):
                    raise  # nor is this: the run goes on when all are there again
                lines = traceback.format_exc().strip().splitlines()
                row = replace(row, status="failed", error="\n".join(lines[-ERROR_LINES:]))
            if processes.leads():
                self.results.commit_row(row, held)
                progress.forget(self.results.run_path(run_id))
                self._discard(run_id)
            self.emit({"run_id": run_id, "event": "done", "status": row.status, "val_loss": row.val_loss,
                       "top1_error": row.top1_error, "images": row.images_seen, "seconds": row.train_seconds,
                       "error": row.error})  # fmt: skip
        return str(row.status)

    def _habits(self, run_id: str, held: Lease | None) -> single.Habits:
        """What a run keeps, and who hears of it."""
        note = progress.Reporter(self.results.run_path(run_id)) if processes.leads() else None

        def emit(event: dict[str, Any]) -> None:
            if note is not None:
                note(event)
            self.emit({"run_id": run_id, **event})

        return single.Habits(self.results.run_path(run_id), self.settings, emit, self.threads, self.any_devices, held,
                             self.stop_at)  # fmt: skip

    def _discard(self, run_id: str) -> None:
        """Removes the checkpoints of a run that has its row."""
        if processes.leads() and self.results.row_status(run_id) in DONE:
            self.results.drop_checkpoints([run_id])

    def _note(self, run_id: str, held: Lease | None, facts: dict[str, Any]) -> None:
        if processes.leads():
            self.results.note(run_id, held, **facts)

    def source(self, config: RunConfig) -> Source:
        """The run's images, made once for each data configuration; their facts go to <dataset>-<images>.json.

        Of built-in images those that its parent was trained on give way to others.
        """
        key = files.canonical(config.data.model_dump(mode="json"))
        if key not in self._sources:
            source = self._sources[key] = data.load(config.data)
            path = self.results.root / f"{config.data.name}-{config.data.train_images}.json"
            if processes.leads() and not path.exists():
                files.write_json(path, source.describe())
        parents = config.parent.data if config.parent is not None and config.parent.dedup else None
        if parents is None or {config.data.source, parents.source} != {"hierarchy"}:
            return self._sources[key]
        pair = f"{key} {files.canonical(parents.model_dump(mode='json'))}"
        if pair not in self._sources:
            self._sources[pair] = self._without_twins(self._sources[key], config.data, parents)
        return self._sources[pair]

    def _without_twins(self, source: Source, task: DataConfig, parents: DataConfig) -> Source:
        """The task's images without those of the parent; which they are is noted beside the runs."""
        assert isinstance(source, Hierarchy)
        pair = ((one.name, int(one.train_images or 0)) for one in (task, parents))
        path = parent_twins.file_of(self.results.root, *pair)
        if processes.led(path.exists()):
            return twins.without(source, twins.Twins.from_dict(files.read_json(path)))
        before = data.load(parents)
        assert isinstance(before, Hierarchy)
        found = twins.twins_of(source, before)
        if processes.leads():
            files.write_json(path, found.to_dict())
        return twins.without(source, found)

    def programs(self, run_id: str, config: RunConfig, source: Source, rules: Recipe) -> tuple[step.Programs, float]:
        """The compiled programs of the run's shape, built on first use, and the seconds that this took now."""
        model = architecture.variant(config.model.variant, config.model.family)
        shapes = tuple((name, array.shape, str(array.dtype)) for name, array in sorted(source.arrays.items()))
        layout = mesh.layout_for(config.train.batch_size, **self.sweep.get("devices", {}))
        key = (model, source.classes, config.train.batch_size, source.signature, shapes, rules, layout)
        if key in self._programs:
            return self._programs[key], 0.0
        check_capacity(config, DataFacts(source.classes, source.resolution, source.train_images), layout)
        self.emit({"run_id": run_id, "event": "compiling"})
        built = self._programs[key] = step.build(model, source, rules, config.train.batch_size, layout)
        self.emit({"run_id": run_id, "event": "compiled", "seconds": built.compile_seconds})
        return built, built.compile_seconds


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
