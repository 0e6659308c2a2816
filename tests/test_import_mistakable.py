"""Files that mean something else than they seem to say: what cannot be told is refused or said, nothing is guessed."""

import json

import pytest
from event_files import event, events, simple

from scalelaw.errors import UserError
from scalelaw.imports import Options, column_map, import_runs


def made(tmp_path, text, name="t.csv", *, columns=None, units=None, **options):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return import_runs([str(path)], Options(column_map(columns, units), **options))


def refused(tmp_path, text, name="t.csv", **how):
    with pytest.raises(UserError) as caught:
        made(tmp_path, text, name, **how)
    return "\n".join(caught.value.messages)


# Text as tables


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.csv", 'run_id;"Size, in millions";loss\na;7;2.5\n'),
        ("t.csv", "run_id;Size, in millions;loss\na;7;2.5\n"),
        ("t.tsv", "run_id\tSize, in millions\tloss\na\t7\t2.5\n"),
        ("t.csv", 'run_id,Size (of weights; all),loss\na,7,"2.5"\n'),
    ],
)
def test_a_header_may_hold_the_mark_that_parts_other_files(tmp_path, name, text):
    found = made(tmp_path, text, name)
    assert found.runs.val_loss.tolist() == [2.5]
    assert len(found.others) == 1


def test_a_cell_longer_than_python_reads_is_no_mistake_of_the_header(tmp_path):
    found = made(tmp_path, f"run_id,loss,note\na,2.5,{'x' * 200_000}\n")
    assert found.runs.val_loss.tolist() == [2.5]


def test_a_header_alone_holds_no_rows_with_or_without_an_end_of_line(tmp_path):
    for text in ("run_id,loss", "run_id,loss\n"):
        assert "holds no rows" in refused(tmp_path, text)
        assert "holds no rows" in refused(tmp_path, text, step="step")


@pytest.mark.parametrize(("cell", "read"), [("125.000", "125"), ("1.500", "1.5")])
def test_a_dot_that_may_part_thousands_is_said(tmp_path, cell, read):
    said = f"row 2: params is '{cell}' and read as {read}; if that dot parts thousands"
    assert any(said in note for note in made(tmp_path, f"run_id;N;loss\na;900;5\nb;{cell};4\n").notes)
    for text, units in (
        ("run_id,N,loss\na,1.5,5\nb,0.125,4\n", {}),
        (f"run_id,N,loss\na,{cell},5\n", {"N": "millions"}),
    ):
        assert not any("thousands" in note for note in made(tmp_path, text, units=units).notes)
    assert not any("thousands" in note for note in made(tmp_path, "run_id,loss\na,1.500\n").notes)


def test_a_dot_that_may_part_thousands_of_steps_is_said(tmp_path):
    found = made(tmp_path, "run_id;step;loss\na;0;5\na;1.000;4\n", step="step")
    assert any("row 2: step is '1.000' and read as 1;" in note for note in found.notes)


@pytest.mark.parametrize("rows", [{"run_id": {"0": "a", "1": "b"}, "loss": {"0": 3, "1": 4}},
                                  {"a": {"loss": 3, "N": 1}, "b": {"loss": 4, "N": 2}}])  # fmt: skip
def test_an_object_of_alike_objects_is_not_one_run(tmp_path, rows):
    assert "an array of objects" in refused(tmp_path, json.dumps(rows), "t.json")


def test_one_run_of_several_objects_is_one(tmp_path):
    row = {"run_id": "a", "loss": 3, "model": {"width": 8}, "data": {"kind": "x"}}
    assert made(tmp_path, json.dumps(row), "t.json").runs.frame["model.width"].tolist() == [8]
    nested = {"model": {"width": 8}, "data": {"kind": "x"}}
    assert made(tmp_path, json.dumps(nested), "t.json").runs.frame["data.kind"].tolist() == ["x"]


def test_whole_numbers_beyond_64_bits(tmp_path):
    found = made(tmp_path, f'{{"run_id": "a", "C": {10**24}, "loss": 3, "x": {10**30}, "D": {10**20}}}\n', "t.jsonl")
    assert (found.runs.train_flop.tolist(), found.runs.images_seen.tolist()) == ([1e24], [1e20])
    from scalelaw.imports import write

    write(found, tmp_path / "o.parquet")
    assert "too large" in refused(tmp_path, f'{{"run_id": "a", "C": {10**400}}}\n', "t.jsonl")


# Columns


def test_a_unit_in_a_column_s_name_that_was_not_said_is_pointed_out(tmp_path):
    text = "run_id,FLOPs (1e18),Params [M],Time (s),val loss (nats)\na,1.2,10,3,2.5\n"
    columns = {"C": "FLOPs (1e18)", "N": "Params [M]", "train_seconds": "Time (s)", "loss": "val loss (nats)"}
    said = [note for note in made(tmp_path, text, columns=columns).notes if "is called" in note]
    assert len(said) == 2
    assert "train_flop is taken in FLOP, but its column is called 'FLOPs (1e18)'" in said[0] or said[1]
    assert any("--unit params=millions" in note for note in said)
    said = made(tmp_path, text, columns=columns, units={"C": "EFLOP", "N": "ones"}).notes
    assert not any("is called" in note for note in said)


def test_likely_columns_are_pointed_out_however_they_are_spelt(tmp_path):
    found = made(tmp_path, "Run,Params (M), Val_Loss,GPU hours,Epochs\na,1,2,3,4\n")
    assert set(found.hints) == {"--column run_id=Run", "--column params='Params (M)'", "--column val_loss=' Val_Loss'",
                                "--column device_hours='GPU hours'", "--column epochs=Epochs"}  # fmt: skip
    assert made(tmp_path, "Run,Loss\na,1\n").hints == ("--column run_id=Run", "--column val_loss=Loss")


# Histories


def test_runs_that_no_column_names_are_not_put_together(tmp_path):
    text = "run,step,loss\na,0,5\na,10,4\nb,0,6\nb,10,3\n"
    assert "step 0 has two losses, 5 and 6, and no column names the runs" in refused(tmp_path, text, step="step")
    assert made(tmp_path, text, step="step", columns={"run_id": "run"}).runs.val_loss.tolist() == [4, 3]
    parted = "step,loss,train\n0,,6\n0,5,\n10,4,3\n10,4,\n"  # rows of one moment that agree
    assert made(tmp_path, parted, step="step").runs.val_loss.tolist() == [4]


def test_a_run_that_was_started_again_is_said(tmp_path):
    found = made(tmp_path, "run_id,step,loss\na,0,5\na,10,4\na,20,3\na,10,4.5\n", step="step")
    assert found.runs.val_loss.tolist() == [3]
    assert any("(run a: 4 and 4.5 at step 10)" in note for note in found.notes)


def test_a_step_beyond_64_bits_is_refused(tmp_path):
    assert "a step must be a whole number" in refused(tmp_path, "run_id,step,loss\na,0,5\na,1e30,4\n", step="step")


@pytest.mark.parametrize("end", ["inf", "-inf", "nan", "NaN"])
def test_any_loss_that_is_not_finite_at_the_end_is_diverged(tmp_path, end):
    found = made(tmp_path, f"run_id,step,loss\na,0,5\na,10,{end}\n", step="step", total_steps="10")
    assert found.runs.status.tolist() == ["diverged"]


def test_the_export_of_a_wandb_chart_is_refused_with_what_to_export(tmp_path):
    text = '"Step","x - val_loss","x - val_loss__MIN","x - val_loss__MAX"\n"0","5","5","5"\n'
    assert "a W&B chart" in refused(tmp_path, text)
    assert "a W&B chart" in refused(tmp_path, text, step="Step")


def test_contradicting_times_are_written_as_times(tmp_path):
    text = "run_id,started_at\na,2026-01-01\na,2026-01-02\n"
    assert "started_at is 2026-01-01T00:00:00+00:00 and 2026-01-02" in refused(tmp_path, text)


# TensorBoard


def test_an_event_file_that_ends_in_zeros_is_read_up_to_there(tmp_path):
    path = events(tmp_path / "a" / "x.tfevents.1", event(1.0, 10, simple("loss", 3.0)))
    path.write_bytes(path.read_bytes() + bytes(500))
    found = import_runs([str(tmp_path)], Options(column_map()))
    assert found.runs.val_loss.tolist() == [3]
    assert any("ends within a record" in note for note in found.notes)


def test_two_values_of_one_step_in_one_folder_are_said(tmp_path):
    for part, (wall, loss) in enumerate(((1.0, 3.0), (2.0, 4.0))):
        events(tmp_path / "a" / f"x.tfevents.{part}", event(wall, 10, simple("loss", loss)))
    found = import_runs([str(tmp_path)], Options(column_map()))
    assert found.runs.val_loss.tolist() == [4]
    assert any("'loss' is 3 and 4 at step 10" in note for note in found.notes)


def test_tags_that_bear_the_names_of_our_columns(tmp_path):
    events(tmp_path / "a" / "x.tfevents.1", event(1.0, 10, simple("loss", 3.0), simple("_step", 99.0)),
           event(2.0, 20, simple("loss", 2.0)))  # fmt: skip
    found = import_runs([str(tmp_path)], Options(column_map()))
    assert found.runs.val_loss.tolist() == [2]
    assert found.runs.frame["_step"].tolist() == [20]
