"""[parent] of a spec: which runs begin where, under which ids, and what cannot be a parent."""

from __future__ import annotations

from pathlib import Path

import pytest
from pretrained import FINETUNE, PRETRAIN, keep, pretrained
from tiny_sweep import snapshot

from scalelaw import cli
from scalelaw.errors import UserError
from scalelaw.sweep import RunConfig, expand, read_spec
from scalelaw.sweep.parents import section_of


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def fine(parent: str, text: str = FINETUNE) -> Path:
    path = Path("fine.toml")
    path.write_text(f"{text}{parent}\n")
    return path


def test_every_finished_run_of_a_sweep_is_a_point_of_the_grid(here):
    runs = pretrained(here, run1="diverged")
    for run in runs:
        keep(here, run)
    spec = read_spec(fine('sweep = "pretrain.toml"', FINETUNE.replace("peak_lr = 0.1", "peak_lr = [0.1, 0.2]")))
    found = expand(spec)
    assert [run.config.parent.run for run in found] == [runs[k].run_id for k in (0, 0, 2, 2, 3, 3)]
    assert [run.config.model.variant for run in found] == ["N0", "N0", "N1", "N1", "N1", "N1"]
    assert {run.config.train.recipe for run in found} == {"finetune"}
    assert spec.remarks == ("results/pretrain: 1 diverged left out of the parents",)
    parent = found[-1].config.parent
    assert (parent.val_loss, parent.peak_lr, parent.core_hours) == (1.2, 0.8, runs[3].cost.core_hours)
    assert expand(read_spec(fine('results = "results/pretrain"')))[0].config.parent.run in {run.run_id for run in runs}


def test_an_id_holds_the_parents_id_and_nothing_else_of_it(here):
    """Facts and place of a parent may change; that it is this parent, and which of its weights, may not."""
    runs = pretrained(here)
    place = keep(here, runs[0])
    found = expand(read_spec(fine(f'run = "results/pretrain/{runs[0].run_id}"')))[0].config
    assert RunConfig.model_validate(found.to_json()) == found
    assert found.canonical.count(runs[0].run_id) == 1
    assert "core_hours" not in found.canonical and "pretrain/" not in found.canonical  # noqa: PT018

    def with_parent(**changes):
        return found.model_copy(update={"parent": found.parent.model_copy(update=changes)}).run_id

    assert with_parent(path=str(place), core_hours=1.0, val_loss=None) == found.run_id
    others = {with_parent(run="0" * 16), with_parent(averaged=True), with_parent(dedup=False),
              found.model_copy(update={"parent": None}).run_id}  # fmt: skip
    assert len(others | {found.run_id}) == 5
    assert expand(read_spec(Path("pretrain.toml")))[0].config.parent is None


def test_what_a_spec_of_fine_tuned_runs_need_not_say(here):
    runs = pretrained(here)
    keep(here, runs[0])
    silent = FINETUNE[: FINETUNE.index("[train]")] + "[parent]\n"
    found = expand(read_spec(fine(f'run = "results/pretrain/{runs[0].run_id}"', silent)))
    train = [run.config.train for run in found]
    assert [each.peak_lr for each in train] == [0.05, 0.1, 0.2]
    assert {(each.recipe, each.batch_size, each.images) for each in train} == {("finetune", 2048, 50 * 48)}


def test_runs_that_are_not_trained_yet_are_planned_for_and_not_launched(here, capsys):
    path = fine('sweep = "pretrain.toml"')
    Path("pretrain.toml").write_text(PRETRAIN)
    assert len(expand(read_spec(path, planning=True))) == 4
    with pytest.raises(UserError, match=r"scalelaw sweep pretrain.toml trains it"):
        read_spec(path)
    runs = pretrained(here, run2="pending", run3="failed")
    for run in runs:
        keep(here, run)
    with pytest.raises(UserError, match=r"2 of the 4 runs .* are not finished .* scalelaw sweep pretrain.toml trains"):
        read_spec(path)
    with pytest.raises(SystemExit) as stopped:
        cli.main(["finetune", str(path), "--dry-run"])
    assert stopped.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "begin at 4 parents" in shown
    assert "2 of them are not trained yet" in shown


def test_from_stands_in_the_place_of_the_section(here):
    runs = pretrained(here)
    one, two = (keep(here, run) for run in runs[:2])
    path = fine(f'run = "{one}"')
    assert expand(read_spec(path, start=str(two)))[0].config.parent.run == runs[1].run_id
    assert section_of("results/pretrain") == {"results": "results/pretrain"}
    assert section_of(str(one)) == {"run": str(one)}
    Path("F0.npz").touch()
    assert section_of("F0.npz") == {"weights": "F0.npz"}
    assert set(section_of("pretrain.toml")) == {"sweep"}
    assert section_of("s3://b/pre?region=x") == {"results": "s3://b/pre?region=x"}
    assert set(section_of(f"s3://b/pre/{'0' * 16}?region=x")) == {"run"}


def test_from_stands_in_the_place_of_what_parts_and_zips_say_too(here):
    runs = pretrained(here)
    one, two = (keep(here, run) for run in runs[:2])
    path = fine(f'run = "{one}"\n[[part]]\nparent.run = "{one}"\ntrain.peak_lr = 0.3\n[[part]]\n[[part.zip]]\n'
                f'parent.run = ["{one}", "{two}"]\ntrain.seeds = [1, 2]')  # fmt: skip
    assert [run.config.parent.run for run in expand(read_spec(path))] == [runs[k].run_id for k in (0, 0, 0, 1)]
    found = [run.config for run in expand(read_spec(path, start=str(two)))]
    assert {config.parent.run for config in found} == {runs[1].run_id}
    assert [(config.train.peak_lr, config.train.seed) for config in found] == [(0.1, 0), (0.3, 0), (0.1, 1), (0.1, 2)]


def test_sweeps_that_begin_at_each_others_runs_are_said(here, capsys):
    fine('sweep = "fine.toml"')
    Path("other.toml").write_text(FINETUNE + 'sweep = "back.toml"\n')
    Path("back.toml").write_text(FINETUNE + 'sweep = "other.toml"\n')
    for name, circle in (("fine", "fine.toml -> fine.toml"), ("other", "other.toml -> back.toml -> other.toml")):
        with pytest.raises(SystemExit) as stopped:
            cli.main(["finetune", f"{name}.toml", "--dry-run"])
        assert stopped.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"scalelaw: {name}.toml:")
        assert f"[parent] sweep: leads back to where it began ({circle}); name another spec" in line


@pytest.mark.parametrize("first", ["part = 3", "zip = true", "part = [1]"])
def test_parts_and_zips_that_are_none_are_one_line_here_too(here, capsys, first):
    Path("fine.toml").write_text(f'{first}\n{FINETUNE}sweep = "pretrain.toml"\n')
    Path("pretrain.toml").write_text(PRETRAIN)
    with pytest.raises(SystemExit) as stopped:
        cli.main(["finetune", "fine.toml", "--dry-run", "--from", "pretrain.toml"])
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"scalelaw: fine.toml:1: {first.split()[0]} must be written [[{first.split()[0]}]]")


LABELS = """
[sweep]
name = "fine"
[data]
source = "npz"
path = "images.npz"
[train]
epochs = 3
[parent]
"""


@pytest.mark.parametrize(
    ("text", "parent", "said"),
    [
        (FINETUNE, 'run = "results/pretrain/RUN0"', "has diverged, and only a finished run can be a parent"),
        (FINETUNE, 'run = "results/pretrain/RUN1"', "has failed, and only a finished run can be a parent"),
        (FINETUNE, 'run = "results/pretrain/RUN2"', "has kept no final weights"),
        (FINETUNE, 'run = "results/pretrain/RUN4"', "weights.npz: is damaged"),
        (FINETUNE, 'run = "results/pretrain/0123456789abcdef"', "is not a run's folder"),
        (FINETUNE, 'run = "elsewhere/0123456789abcdef"', "is not a run's folder"),
        (FINETUNE, 'sweep = "nowhere.toml"', "cannot be read"),
        (FINETUNE, 'results = "nowhere"', "no such folder"),
        (FINETUNE, 'run = "nope://b/pre/0123456789abcdef"', "nope://b/pre: is of no known kind"),
        (FINETUNE, 'sweep = "pretrain.toml"\nresults = "nope://b/pre"', "nope://b/pre: is of no known kind"),
        (FINETUNE, 'weights = "nowhere.npz"', "cannot be read"),
        (FINETUNE, 'weights = "published.npz"', "a file does not say which network it holds"),
        (FINETUNE, "averaged = true", "exactly one of sweep, results, run and weights is the start; none is given"),
        (FINETUNE, 'run = "results/pretrain/RUN3"\naveraged = true', "averaged no weights"),
        (f'[model]\nvariants = ["N0"]{FINETUNE}', 'run = "results/pretrain/RUN3"', "is of variant N1, not N0"),
        (f'[model]\nvariants = ["F0"]{FINETUNE}', 'weights = "published.npz"', "8 pixels are too small for F0, which"),
        (f'[model]\nvariants = ["N0"]{FINETUNE}', 'weights = "published.npz"', "is not a whole pickle"),
        (LABELS, 'run = "results/pretrain/RUN3"', "labels"),
    ],
)
def test_what_cannot_be_a_parent_is_one_line_and_changes_nothing(here, capsys, text, parent, said):
    import numpy as np

    more = PRETRAIN.replace("[0.4, 0.8]", "[0.4, 0.6, 0.8]")
    runs = pretrained(here, more, run0="diverged", run1="failed")
    keep(here, runs[3])
    (keep(here, runs[4]) / "final" / "weights.npz").write_bytes(b"PK cut short")
    Path("published.npz").write_bytes(b"weights")
    np.savez("images.npz", images=np.zeros((20, 8, 8), np.float32), labels=np.arange(20) - 3)
    for index, run in enumerate(runs):
        parent = parent.replace(f"RUN{index}", run.run_id)
    path = fine(parent, text)
    before = snapshot(here)
    with pytest.raises(SystemExit) as stopped:
        cli.main(["finetune", str(path)])
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert line.startswith("scalelaw: fine.toml:")
    assert snapshot(here) == before
