"""What `scalelaw sweep --dry-run` prints: every run with its cost, then the whole by model."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import fill, wrap
from typing import TYPE_CHECKING, Any

from scalelaw.text import columns

if TYPE_CHECKING:
    from scalelaw.launch.forecast import Forecast
    from scalelaw.sweep import PlannedRun, Spec

WIDTH = 80
SHORT_ID = 8
_NAMES = {"batch_size": "batch", "train_images": "images"}
_SHOWN = {"data": "source path digest exclude_digest excluded_images holdout_exclude_digest "
          "excluded_holdout_images excluded_classes", "model": "variant", "train": "images peak_lr"}  # fmt: skip
"""Settings of a run that have columns of their own, or say nothing to a reader."""


def show(found: Forecast) -> str:
    """The whole dry run as text of at most 80 columns, wherever the settings that vary allow."""
    return "\n".join([*_runs(found), "", *_models(found), *_sums(found)])


def _runs(found: Forecast) -> list[str]:
    """A line for each run: the settings that vary, then its cost; what does not fit goes on a second line."""
    varied, constant = _settings(found.planned)
    priced = found.dollars(found.planned) is not None
    ranked = len({run.priority for run in found.planned}) > 1
    head = ["variant", "epochs", "peak lr"]
    costs = ["core-h", "here", *(["dollars"] if priced else []), *(["priority"] if ranked else []), ""]
    rows = []
    for run in found.planned:
        cells = [run.config.model.variant, f"{run.cost.epochs:.3g}", f"{run.config.train.peak_lr:.4g}"]
        own = [amount(run.cost.core_hours), duration(found.expected.seconds[run.run_id])]
        own += [amount(found.dollars([run]).mid)] if priced else []  # type: ignore[union-attr]
        own += [str(run.priority)] if ranked else []
        rows.append((cells, own, "done" if run.run_id in found.done else ""))
    ids = [run.run_id if found.seen else str(k + 1) for k, run in enumerate(found.planned)]
    names = list(varied)

    def table(shown: Sequence[str], ids: Sequence[str]) -> list[str]:
        lines = [("run", *head, *(_NAMES.get(name, name.replace("_", " ")) for name in shown), *costs)]
        for index, (cells, own, state) in enumerate(rows):
            lines.append((ids[index], *cells, *(varied[name][index] for name in shown), *own, state))
        return list(columns(lines, left=(0, 1, len(lines[0]) - 1)))

    drawn = table(names, ids)
    if _width(drawn) > WIDTH and found.seen:
        ids = [one[:SHORT_ID] for one in ids]
        drawn = table(names, ids)
    shown = names
    while _width(drawn) > WIDTH and shown:
        shown = shown[:-1]
        drawn = table(shown, ids)
    if shown != names:
        more = [", ".join(f"{name} {varied[name][k]}" for name in names[len(shown) :]) for k in range(len(rows))]
        for index in range(len(rows), 0, -1):
            drawn[index:index + 1] = [drawn[index], *wrap(more[index - 1], WIDTH, initial_indent="    ",
                                                          subsequent_indent="    ")]  # fmt: skip
    same = ", ".join(f"{_NAMES.get(name, name)} {value}" for name, value in constant.items())
    return [*([*wrap(f"every run: {same}", WIDTH)] if same else []), *drawn]


def _settings(planned: Sequence[PlannedRun]) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Settings that vary, run by run, and those that all runs share and that are worth a word."""
    every: dict[str, list[Any]] = {}
    for index, run in enumerate(planned):
        for section, hidden in _SHOWN.items():
            values = getattr(run.config, section)
            for name in type(values).model_fields:
                if name not in hidden.split():
                    label = "data seed" if (section, name) == ("data", "seed") else name
                    every.setdefault(label, [None] * len(planned))[index] = getattr(values, name)
        if run.config.parent is not None:
            every.setdefault("parent", [None] * len(planned))[index] = run.config.parent.name[:SHORT_ID]
            every.setdefault("averaged", [False] * len(planned))[index] = run.config.parent.averaged
    words = {name: [_word(value) for value in values] for name, values in every.items()}
    varied = {name: values for name, values in words.items() if len(set(values)) > 1}
    varied.pop("holdout_images", None)
    first = ("parent", "batch_size", "seed", "train_images")
    order = sorted(varied, key=lambda name: (name not in first, name != "parent", list(words).index(name)))
    same = ("parent", "batch_size", "seed", "recipe")
    return {name: varied[name] for name in order}, {
        name: words[name][0] for name in same if name in words and name not in varied
    }


def _word(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_word, value))}]"
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _models(found: Forecast) -> list[str]:
    """A line for each model: its runs, and what they cost."""
    batches = len({run.config.train.batch_size for run in found.planned}) > 1
    sides = len({run.cost.facts.resolution for run in found.planned}) > 1
    groups: dict[tuple[str, ...], list[PlannedRun]] = {}
    for run in found.planned:
        key = (run.config.model.variant, *([str(run.config.train.batch_size)] if batches else []),
               *([str(run.cost.facts.resolution)] if sides else []))  # fmt: skip
        groups.setdefault(key, []).append(run)
    rows = [["variant", *(["batch"] if batches else []), *(["pixels"] if sides else []), *_MODEL]]
    rows += [[*key, *_row(found, runs)] for key, runs in groups.items()]
    if len(groups) > 1:
        rows.append(["all", *[""] * (batches + sides), *_row(found, found.planned)])
    hidden = {name for name, useless in (("left", not found.done), ("dollars", found.dollars(found.planned) is None))
              if useless}  # fmt: skip
    for more in ((), ("core-h a run",)):
        kept = [k for k, name in enumerate(rows[0]) if name not in (*hidden, *more)]
        drawn = list(columns([[row[k] for k in kept] for row in rows], left=(0,)))
        if _width(drawn) <= WIDTH:
            break
    return drawn


_MODEL = ("runs", "left", "core-h a run", "core-h", "here", "dollars", "memory")


def _row(found: Forecast, runs: Sequence[PlannedRun]) -> list[str]:
    from scalelaw.sweep.device_memory import gigabytes

    hours = [run.cost.core_hours for run in runs]
    dollars = found.dollars(runs)
    return [
        str(len(runs)), str(sum(run.run_id not in found.done for run in runs)),
        amount(hours[0]) if min(hours) == max(hours) else f"{amount(min(hours))} to {amount(max(hours))}",
        amount(sum(hours)), duration(sum(found.expected.seconds[run.run_id] for run in runs)),
        "" if dollars is None else amount(dollars.mid),
        gigabytes(max(found.memory[run.run_id].total for run in runs)),
    ]  # fmt: skip


def _sums(found: Forecast) -> list[str]:
    """What the tables rest on, and the whole."""
    from scalelaw.sweep import describe
    from scalelaw.sweep.remarks import remarks

    spec, planned, todo = found.spec, found.planned, found.todo
    hours, left = (sum(run.cost.core_hours for run in runs) for runs in (planned, todo))
    data = list(dict.fromkeys(describe(run.config.data) for run in planned))
    said = [*data[:3], *([f"and {len(data) - 3} more sets of images"] if data[3:] else [])]
    if not found.seen:
        said.append("the images are not there: their number and classes are the spec's word; ids follow from them")
    if spec.sweep.note:
        said.append(spec.sweep.note)
    said += [*spec.remarks, *_parents(found)]
    said.append(f"{len(planned)} runs: {amount(hours)} TPU-v4 core-hours at {spec.sweep.utilisation:.0%} utilisation")
    if len(todo) < len(planned) or not todo:
        said.append(f"{len(todo)} to train: {amount(left)} core-hours")
    if todo:
        workers = "1 worker" if found.workers == 1 else f"{found.workers} workers"
        said.append(f"with {workers} here about {in_words(found.minutes())} ({_basis(found)})")
    total, dollars = found.device_hours(todo), found.dollars(todo)
    if found.machines is not None and total is not None:
        on = found.machines
        words = f"{total.show(amount)} device-hours on {on.devices} {on.hardware}, one run after the other " \
                f"{total.times(1 / on.devices).show(lambda hours: duration(3600 * hours))}"  # fmt: skip
        if dollars is not None:
            words += f"; {dollars.show(amount)} dollars at {on.price_per_device_hour:g} a device-hour"
        said += [words, *found.notes()]
    said += remarks(planned)
    said.append(
        f"here: time of one worker on this machine; memory: of one device in training, by arithmetic ({_layout(spec)})"
    )
    return [fill(line, WIDTH) for line in said]


def _parents(found: Forecast) -> list[str]:
    """What the runs begin at cost, each counted once."""
    parents = {one.name: one for run in found.planned if (one := run.config.parent) is not None}
    if not parents:
        return []
    hours = [one.core_hours for one in parents.values() if one.core_hours is not None]
    cost = f"{amount(sum(hours))} core-hours" if hours else "unknown"
    cost += f", without {len(parents) - len(hours)} of unknown cost" if 0 < len(hours) < len(parents) else ""
    waiting = sum(one.run is not None and one.val_loss is None for one in parents.values())
    cost += f"; {waiting} of them are not trained yet" if waiting else ""
    return [f"begin at {len(parents)} parents, which cost before: {cost}"]


def _basis(found: Forecast) -> str:
    """What the minutes rest on."""
    kinds = [found.expected.basis[run.run_id] for run in found.todo]
    words = {"this sweep": "speed measured in this sweep", "this machine": "speed measured on this machine",
             "assumed": "assumed speed"}  # fmt: skip
    said = [f"{words[kind]}, {kinds.count(kind)} runs" if len(set(kinds)) > 1 else words[kind]
            for kind in dict.fromkeys(kinds)]  # fmt: skip
    return "; ".join(said) + (", until a run of each shape has been measured" if "assumed" in kinds else "")


def _width(lines: Sequence[str]) -> int:
    return max(map(len, lines))


def _layout(spec: Spec) -> str:
    devices = spec.devices
    said = "one device" if devices.planned == 1 else f"{devices.planned} devices"
    said += f" of {devices.hardware}" if devices.hardware else ""
    said += f", {devices.params} to a copy of the parameters" if devices.params > 1 else ""
    said += f", batches in {devices.accumulate} parts" if devices.accumulate > 1 else ""
    return said + (", blocks computed anew" if devices.remat else "")


def refuse_flags(flags: dict[str, object]) -> None:
    """Refuses flags that only a dry run reads.

    Raises:
        UserError: naming those that were given.
    """
    from scalelaw.errors import UserError

    named = [flag for flag, given in flags.items() if given is not None]
    if named:
        raise UserError(f"sweep: {' and '.join(named)}: goes with --dry-run; add it, or leave {named[0]} out")


def check_fit(spec: Spec, planned: list[PlannedRun]) -> None:
    """Refuses a sweep of which a run does not fit the hardware that [devices] names."""
    from scalelaw.errors import UserError
    from scalelaw.sweep.device_memory import board_memory, check_memory

    limit = None if spec.devices.hardware is None else board_memory(spec.devices.hardware)
    if limit is None:
        return
    wrong = {}
    for run in planned:
        try:
            check_memory(run.config, run.cost.facts, spec.devices, limit, str(spec.devices.hardware))
        except UserError as error:
            wrong[error.messages] = f"{spec.place('devices', 'hardware')}: {error.messages[0]}"
    if wrong:
        raise UserError(*wrong.values())


def amount(value: float) -> str:
    """A number to three digits: 1.2e-07, 0.319, 319, 109,000."""
    return f"{float(f'{value:.3g}'):,.0f}" if 1000 <= value < 1e9 else f"{value:.3g}"


def duration(seconds: float) -> str:
    """A length of time in the unit that suits it, short."""
    for unit, size in (("y", 365.25 * 86400), ("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{amount(seconds / size)} {unit}"
    return f"{seconds:.3g} s"


def in_words(minutes: float) -> str:
    """A length of time."""
    if minutes >= 120:
        return duration(60 * minutes)
    return f"{minutes:.0f} minutes" if minutes >= 1.5 else f"{60 * minutes:.0f} seconds"
