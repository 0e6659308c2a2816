"""[parent]: the networks that fine-tuned runs begin at, found in results folders, in other sweeps or in files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from scalelaw.errors import UserError
from scalelaw.runs import ResultsFolder, open_results, weights
from scalelaw.runs.store import is_uri
from scalelaw.runs.store.place import StoreError
from scalelaw.sweep.config import ModelConfig, ParentConfig, RunConfig, Section
from scalelaw.sweep.recipes import rules_of
from scalelaw.sweep.sections import Many, ModelSection

SPEC = ".toml"


class ParentSection(Section):
    """[parent]: where fine-tuned runs begin; every list spans the grid.

    Attributes:
        sweep: specs, beside the file that says so: every run of theirs that is finished.
        results: the folder of their results, results/NAME unless given; without `sweep`, every finished run there.
        run: folders of finished runs.
        weights: files of published weights; [model] says which variant they are.
        averaged: begin at the averaged weights of the runs.
        dedup: leave out near-duplicates of the parent's images.
    """

    sweep: Many[str] | None = None
    results: Many[str] | None = None
    run: Many[str] | None = None
    weights: Many[str] | None = None
    averaged: Many[Annotated[bool, Field(strict=True)]] = (False,)
    dedup: Annotated[bool, Field(strict=True)] = True


@dataclass(frozen=True)
class Parent:
    """One start.

    Attributes:
        config: what the runs that begin there say of it.
        model: the network; None for a file, which does not say.
    """

    config: ParentConfig
    model: ModelConfig | None

    def section(self, asked: ModelSection | None) -> ModelSection:
        """The network of the runs that begin here, of those that [model] names."""
        if self.model is None:
            assert asked is not None
            return asked
        return ModelSection(family=(self.model.family,), variants=(self.model.variant,))


@dataclass(frozen=True)
class Parents:
    """The starts that a section means.

    Attributes:
        starts: of which each is a point of the grid.
        remarks: one sentence for each set of runs left out.
    """

    starts: tuple[Parent, ...]
    remarks: tuple[str, ...] = ()


def section_of(start: str) -> dict[str, Any]:
    """The section that `--from START` stands for: a run's folder, a results folder, another sweep's spec, or a file."""
    if not is_uri(start) and start.endswith(SPEC):
        return {"sweep": str(Path(start).absolute())}
    if is_uri(start):
        _, run_id = weights.above(start)
        is_run = len(run_id) == 16 and set(run_id) <= set("0123456789abcdef")
        return {"run" if is_run else "results": start}
    if Path(start).is_file():
        return {"weights": start}
    is_results = any((Path(start) / name).exists() for name in ("sweep.json", "runs.parquet"))
    return {"results" if is_results else "run": start}


def parents_of(section: ParentSection, beside: Path, planning: bool) -> Parents:
    """The starts of a section, looked for where it says.

    Args:
        beside: the folder of the file that has the section.
        planning: runs that are not trained yet may be starts.

    Raises:
        UserError: one line, `[parent] key: what; the mend`, for every start that cannot be one.
    """
    given = [name for name in ("sweep", "run", "weights") if getattr(section, name) is not None]
    if section.results is not None and given in ([], ["run"], ["weights"]):
        given.insert(0, "results")
    if len(given) != 1:
        said = f"{' and '.join(given)} are given; keep one" if given else "none is given; add one"
        raise UserError(f"[parent] exactly one of sweep, results, run and weights is the start; {said}")
    (word,) = given
    if word == "weights" and True in section.averaged:
        raise UserError("[parent] averaged: a file holds one kind of weights; leave it out")
    found: list[Parent] = []
    remarks: list[str] = []
    mistakes: list[str] = []
    if word == "sweep" and section.results is not None and len(section.results) != len(section.sweep or ()):
        raise UserError("[parent] results: must be one folder for each sweep")
    for index, place in enumerate(getattr(section, word)):
        for averaged in section.averaged:
            settings = {"averaged": averaged, "dedup": section.dedup}
            try:
                if word == "weights":
                    found.append(_of_file(place, settings))
                    if section.dedup:
                        remarks.append(f"{place}: does not say what it was trained on, so no near-duplicates of that "
                                       "are looked for")  # fmt: skip
                elif word == "run":
                    found.append(_of_run(place, settings))
                elif word == "results":
                    found += _of_results(place, settings, remarks)
                else:
                    results = None if section.results is None else section.results[index]
                    found += _of_sweep(beside / place, results, settings, planning, remarks)
            except UserError as error:
                mistakes += [line if line.startswith("[parent]") else f"[parent] {word}: {line}"
                             for line in error.messages]  # fmt: skip
    if mistakes:
        raise UserError(*dict.fromkeys(mistakes))
    if not found:
        raise UserError(f"[parent] {word}: no run there is finished; train one first")
    return Parents(tuple(found), tuple(dict.fromkeys(remarks)))


def _of_file(place: str, settings: dict[str, Any]) -> Parent:
    path = Path(place)
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{place}: cannot be read ({error.strerror}); name a file of published weights") from error
    return Parent(ParentConfig(weights=digest, path=place, **settings), None)


def _of_run(place: str, settings: dict[str, Any]) -> Parent:
    results, run_id = weights.above(place)
    try:
        folder = open_results(results)
        folder.config(run_id)
    except StoreError:  # it may well be one: the store does not say
        raise
    except UserError as error:
        raise UserError(f"{place}: is not a run's folder; name results/NAME/RUN_ID, as scalelaw status RESULTS --runs "
                        "lists them") from error  # fmt: skip
    row = _rows(folder).get(run_id, {})
    status = folder.statuses([run_id])[run_id]
    if status != "finished":
        why = {"diverged": "has diverged", "failed": "has failed", "running": "is still being trained"}
        mend = "choose another" if status == "diverged" else f"scalelaw run {results} {run_id} trains it"
        raise UserError(f"{place}: {why.get(status, 'is not trained yet')}, and only a finished run can be a parent; "
                        f"{mend}")  # fmt: skip
    return _kept(folder, [_start(folder, run_id, row, settings)])[0]


def _of_results(place: str, settings: dict[str, Any], remarks: list[str]) -> list[Parent]:
    folder = open_results(place)
    rows = _rows(folder)
    finished = [run_id for run_id, row in rows.items() if row["status"] == "finished"]
    known = [run_id for run_id in finished if folder.has(run_id)]
    if len(known) < len(finished):
        raise UserError(f"{place}: {len(finished) - len(known)} finished runs have no folder there, as run "
                        f"{next(run_id for run_id in finished if run_id not in known)}; name the folder that the sweep "
                        "was trained in")  # fmt: skip
    others = folder.statuses([run_id for run_id in {*folder.run_ids(), *rows} if run_id not in finished])
    counts = {status: list(others.values()).count(status) for status in others.values()}
    if counts:
        said = ", ".join(f"{count} {status}" for status, count in counts.items())
        remarks.append(f"{place}: {said} left out of the parents")
    return _kept(folder, [_start(folder, run_id, rows[run_id], settings) for run_id in known])


def _of_sweep(
    path: Path, results: str | None, settings: dict[str, Any], planning: bool, remarks: list[str]
) -> list[Parent]:
    name, planned = _sweep(path, planning)
    place = results or str(Path("results") / name)
    command = f"scalelaw sweep {path}" + (f" -o {results}" if results else "")
    try:
        folder = open_results(place)
    except StoreError:
        raise
    except UserError:
        if is_uri(place) or Path(place).exists() or not planning:
            raise UserError(f"{path} is not trained yet ({place} holds no results); {command} trains it") from None
        return [_planned(place, run, settings) for run in planned]
    rows, found, kept = _rows(folder), [], []
    waiting = 0
    for run in planned:
        row = rows.get(run.run_id, {})
        if row.get("status") == "finished":
            kept.append(_start(folder, run.run_id, row, settings))
            found.append(kept[-1])
        elif row.get("status") != "diverged":
            waiting += 1
            found.append(_planned(place, run, settings))
    if waiting and not planning:
        raise UserError(f"{waiting} of the {len(planned)} runs of {path} are not finished in {place}; {command} trains "
                        "them")  # fmt: skip
    if len(found) < len(planned):
        remarks.append(f"{place}: {len(planned) - len(found)} diverged left out of the parents")
    _kept(folder, kept)
    return found


def _sweep(path: Path, planning: bool) -> tuple[str, tuple[Any, ...]]:
    from scalelaw.sweep.expand import expand
    from scalelaw.sweep.spec import read_spec

    spec = read_spec(path, planning=planning)
    return spec.sweep.name, tuple(expand(spec))


def _rows(folder: ResultsFolder) -> dict[str, dict[str, Any]]:
    """The rows of a results folder by their run's id."""
    return {row["run_id"]: row for row in folder.read_rows()[0].to_pylist()}


def _start(folder: ResultsFolder, run_id: str, row: dict[str, Any], settings: dict[str, Any]) -> Parent:
    try:
        config = RunConfig.model_validate(folder.config(run_id))
    except ValidationError as error:
        raise UserError(f"{folder.shown}: run {run_id} has settings that this version of scalelaw does not know; "
                        "update it") from error  # fmt: skip
    _check_averaged(f"{folder.shown}: run {run_id}", config, settings)
    hours = row.get("core_hours") if config.parent is None else row.get("total_core_hours")
    facts: dict[str, Any] = {name: row.get(name) for name in ("val_loss", "epochs", "peak_lr")}
    place = weights.below(folder.address, run_id)
    return Parent(
        ParentConfig(run=run_id, path=place, data=config.data, core_hours=hours, **facts, **settings), config.model
    )


def _planned(place: str, run: Any, settings: dict[str, Any]) -> Parent:
    """A run that is not trained yet."""
    config = run.config
    _check_averaged(f"run {run.run_id}", config, settings)
    facts = {"core_hours": run.cost.core_hours, "epochs": run.cost.epochs, "peak_lr": config.train.peak_lr}
    where = weights.below(place, run.run_id)
    return Parent(ParentConfig(run=run.run_id, path=where, data=config.data, **facts, **settings), config.model)


def _check_averaged(called: str, config: RunConfig, settings: dict[str, Any]) -> None:
    if settings["averaged"] and not rules_of(config).ema:
        raise UserError(f"[parent] averaged: {called} averaged no weights; leave averaged out")


def _kept(folder: ResultsFolder, starts: list[Parent]) -> list[Parent]:
    """The starts, all of which must have kept their weights."""
    lacking = [start.config for start in starts if not weights.are_kept(start.config.path)]
    if lacking:
        which = f"run {lacking[0].run} has" if len(lacking) == 1 else f"{len(lacking)} runs, as {lacking[0].run}, have"
        raise UserError(f"{folder.shown}: {which} kept no final weights, without which nothing can begin there; remove "
                        "their folders and train them again with [sweep] keep_final = true")  # fmt: skip
    for start in starts:
        if not weights.are_whole(start.config.path):
            raise UserError(
                f"{start.config.path}/{weights.FINAL}: is damaged; remove the run's folder and train it again"
            )
    return starts


def model_mistakes(starts: tuple[Parent, ...], asked: ModelSection | None) -> Iterator[str]:
    """Networks that [model] names and the parents are not.

    Args:
        asked: None where [model] is left out.
    """
    files = any(start.model is None for start in starts)
    if asked is None:
        if files:
            yield '[parent] weights: a file does not say which network it holds; name it, as [model] variants = ["F0"]'
        return
    if files and len(asked.family) * len(asked.variants) > 1:
        yield f"[model] variants: published weights are those of one variant, not of {len(asked.variants)}; keep one"
    for start in starts:
        model = start.model
        if model is not None and not (model.family in asked.family and model.variant in asked.variants):
            names = " or ".join(asked.variants)
            yield (f"[model] variants: the parent {start.config.path} is of variant {model.variant}, not {names}; "
                   "leave [model] out, and every run has its parent's network")  # fmt: skip
            return
