"""Anybody's tables: columns, units, what follows from what, and what is refused."""

import json
import math

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scalelaw import compute
from scalelaw.errors import UserError
from scalelaw.imports import Options, column_map, import_runs
from scalelaw.imports.units import UNITS

TABLE = "Run,Model Size,Tokens,Loss,Notes\na,10,1e9,3.5,x\nb,20,2e9,3.25,\nc,40,4e9,3.0,y\n"
NAMES = {"run_id": "Run", "N": "Model Size", "D": "Tokens", "loss": "Loss"}


def made(tmp_path, text=TABLE, columns=NAMES, units=None, constants=None, name="t.csv", mapping=None, **options):
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return import_runs([str(path)], Options(column_map(columns, units, constants, mapping)), **options)


def refused(tmp_path, *args, **options):
    with pytest.raises(UserError) as caught:
        made(tmp_path, *args, **options)
    assert all("\n" not in message for message in caught.value.messages)
    return "\n".join(caught.value.messages)


# Columns


def test_columns_by_name_with_units(tmp_path):
    found = made(tmp_path, units={"N": "millions", "loss": "bits"})
    assert found.runs.run_id.tolist() == ["a", "b", "c"]
    assert found.runs.params.tolist() == [10_000_000, 20_000_000, 40_000_000]
    np.testing.assert_allclose(found.runs.val_loss, np.array([3.5, 3.25, 3.0]) * math.log(2), rtol=1e-15)
    assert dict(found.others) == {"Notes": "Notes"}
    assert found.runs.frame["Notes"].tolist()[::2] == ["x", "y"]
    assert {one.column: one.unit_said for one in found.meanings if one.unit} == {
        "params": True, "val_loss": True, "images_seen": False,
    }  # fmt: skip


def test_the_same_from_a_toml_file_and_a_flag_wins(tmp_path):
    toml = tmp_path / "m.toml"
    toml.write_text('[columns]\nrun_id = "Run"\nN = { column = "Model Size", unit = "M" }\nD = "Tokens"\n'
                    'loss = "Loss"\n[units]\nloss = "perplexity"\n[set]\nhardware = "h100"\ndevices = 8\n')  # fmt: skip
    found = made(tmp_path, columns={}, units={"loss": "bits"}, mapping=toml)
    same = made(tmp_path, units={"N": "millions", "loss": "bits"}, constants={"hardware": "h100", "devices": "8"})
    pd.testing.assert_frame_equal(found.runs.frame[sorted(found.runs.frame)], same.runs.frame[sorted(same.runs.frame)])


def test_every_mistake_in_a_mapping_is_named(tmp_path):
    toml = tmp_path / "m.toml"
    toml.write_text(
        '[colums]\nN = "x"\n[columns]\nparms = "a"\nD = { name = "x" }\n[units]\nloss = "nits"\n[set]\nseed = []\n'
    )
    words = refused(tmp_path, mapping=toml)
    for part in ("'colums' is unknown; did you mean 'columns'?", "parms: is no known column; did you mean 'params'?",
                 "must be a column's name, or { column", "val_loss is not counted in 'nits'",
                 "seed: must be a text"):  # fmt: skip
        assert part in words, (part, words)
    toml.write_text("[columns\n")
    assert "is not TOML" in refused(tmp_path, mapping=toml)


@pytest.mark.parametrize(
    ("columns", "units", "words"),
    [
        ({**NAMES, "N": "model size"}, None, "no column 'model size'; did you mean 'Model Size'?"),
        ({**NAMES, "params_body": "Model Size"}, None, "'Model Size' is params already; a column has one meaning"),
        (NAMES, {"N": "hours"}, "params is not counted in 'hours'"),
        (NAMES, {"variant": "hours"}, "variant has no units"),
    ],
)
def test_wrong_flags(tmp_path, columns, units, words):
    assert words in refused(tmp_path, columns=columns, units=units)


def test_likely_columns_are_pointed_out_and_not_taken(tmp_path):
    found = made(tmp_path, "id,lr,n_params,eval_loss\na,0.1,10,2\n", columns={"run_id": "id"})
    assert set(found.hints) == {"--column peak_lr=lr", "--column params=n_params", "--column val_loss=eval_loss"}
    assert not found.runs.has("peak_lr")
    assert {"val_loss", "peak_lr", "images_seen"} <= set(found.unknown)


def test_a_column_that_bears_our_name_but_is_not_meant_is_kept_apart(tmp_path):
    found = made(tmp_path, "run_id,val_loss,test\na,1,2\n", columns={"loss": "test"})
    assert found.runs.val_loss.tolist() == [2]
    assert found.runs.frame["val_loss (not used)"].tolist() == [1]
    assert dict(found.others) == {"val_loss": "val_loss (not used)"}


def test_what_is_set_for_all_runs_wins_and_the_column_is_kept_apart(tmp_path):
    found = made(tmp_path, "run_id,seed\na,1\nb,2\n", columns={}, constants={"seed": "7"})
    assert found.runs.seed.tolist() == [7, 7]
    assert found.runs.frame["seed (not used)"].tolist() == [1, 2]
    words = refused(tmp_path, "run_id,seed\na,1\n", columns={"seed": "seed"}, constants={"seed": "7"})
    assert "--set seed: seed is the column 'seed' already" in words


# Units


@pytest.mark.parametrize(
    ("column", "unit", "value", "ours"),
    [
        ("train_seconds", "h", 2, 7200), ("train_seconds", "minutes", 2, 120), ("train_seconds", "days", 1, 86_400),
        ("C", "PF-days", 1, 8.64e19), ("C", "PFLOP/s-days", 2, 1.728e20), ("C", "EFLOP", 3, 3e18),
        ("loss", "perplexity", math.e, 1.0), ("loss", "bits", 1.0, math.log(2)), ("N", "B", 1.5, 1_500_000_000),
        ("N", "millions", 124.4, 124_400_000), ("macs_per_image", "GFLOP", 2, 1e9), ("top1_error", "percent", 25, 0.25),
        ("top1_error", "accuracy", 0.75, 0.25), ("top1_error", "accuracy-percent", 75, 0.25),
        ("utilisation", "%", 36, 0.36),
    ],
)  # fmt: skip
def test_units(tmp_path, column, unit, value, ours):
    found = made(tmp_path, f"run_id,x\na,{value!r}\n", columns={column: "x"}, units={column: unit}, as_is=True)
    name = found.meanings[0].column
    assert found.runs.frame[name][0] == pytest.approx(ours, rel=1e-14)


def test_the_first_unit_of_every_column_is_ours_and_changes_nothing():
    values = np.array([0.1, 3.0, 7e9])
    for name, units in UNITS.items():
        np.testing.assert_array_equal(next(iter(units.values()))(values), values, err_msg=name)


def test_what_a_unit_cannot_hold_is_refused(tmp_path):
    words = refused(tmp_path, "run_id,loss\na,2\nb,-1\n", columns={}, units={"loss": "perplexity"})
    assert "t.csv row 2: val_loss ('loss') is -1, which is no perplexity" in words


# What follows


def row(tmp_path, text, **options):
    return made(tmp_path, text, columns={}, **options).runs.frame.iloc[0]


def test_core_hours_from_flop_are_estimated_at_a_stated_utilisation(tmp_path):
    text = "run_id,C,loss\na,1e20,2\n"
    got = row(tmp_path, text)
    assert got["core_hours"] == compute.core_hours(1e20)
    assert (got["core_hours_basis"], got["utilisation"]) == ("estimated", compute.DEFAULT_UTILISATION)
    assert row(tmp_path, text, utilisation=0.5)["core_hours"] == compute.core_hours(1e20, 0.5)
    assert any("assumed utilisation of 0.36" in note for note in made(tmp_path, text, columns={}).notes)


def test_core_hours_on_tpu_v4_are_measured(tmp_path):
    got = row(tmp_path, "run_id,train_seconds,C\na,3600,1e19\n", constants={"hardware": "TPU v4", "devices": "4"})
    assert (got["core_hours"], got["core_hours_basis"]) == (8.0, "measured")
    assert got["utilisation"] == pytest.approx(1e19 / (8 * compute.FLOP_PER_CORE_HOUR))
    hours = row(tmp_path, "run_id,device_hours\na,4\n", constants={"hardware": "tpu-v4"})
    assert (hours["core_hours"], hours["core_hours_basis"], hours["device_hours"]) == (8.0, "measured", 4.0)


def test_core_hours_from_time_on_other_hardware_are_estimated(tmp_path):
    said = {"hardware": "h100", "devices": "8"}
    got = row(tmp_path, "run_id,train_seconds\na,3600\n", constants=said)
    assert got["core_hours"] == pytest.approx(8 * 989.4 / 137.5)  # equal utilisation of the peaks
    assert got["core_hours_basis"] == "estimated"
    both = "run_id,train_seconds,C\na,3600,1e19\n"
    assert row(tmp_path, both, constants=said)["core_hours"] == compute.core_hours(1e19)
    by_time = row(tmp_path, both, constants=said, cost_from="time")
    assert by_time["core_hours"] == got["core_hours"]
    assert by_time["utilisation"] * by_time["core_hours"] * compute.FLOP_PER_CORE_HOUR == pytest.approx(1e19)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({}, "hardware is not named"),
        ({"hardware": "cpu"}, "cpu has no known peak"),
        ({"hardware": "h10"}, "did you mean 'h100'?"),
    ],
)
def test_core_hours_that_nothing_tells_are_unknown_not_zero(tmp_path, said, why):
    found = made(tmp_path, "run_id,device_hours\na,4\n", columns={}, constants=said)
    assert not found.runs.has("core_hours")
    assert any(why in note for note in found.notes)


def test_given_core_hours_keep_their_basis_and_unknown_is_said(tmp_path):
    found = made(tmp_path, "run_id,core_hours\na,4\n", columns={})
    assert "core_hours_basis" in found.unknown
    assert any("whether measured" in note for note in found.notes)
    said = {"core_hours_basis": "measured", "hardware": "a100"}
    assert "core-hours are a TPU v4's" in refused(tmp_path, "run_id,core_hours\na,4\n", columns={}, constants=said)


def test_six_n_d_is_a_choice_and_never_a_default(tmp_path):
    assert not made(tmp_path).runs.has("train_flop")
    assert made(tmp_path, flop_rule="6nd").runs.train_flop.tolist() == [6e10, 24e10, 96e10]
    exact = row(tmp_path, "run_id,macs_per_image,D\na,5,7\n", flop_rule="6nd")
    assert exact["train_flop"] == 210


def test_images_from_steps_and_epochs_and_nothing_with_as_is(tmp_path):
    text = "run_id,steps,U\na,10,1280\n"
    got = row(tmp_path, text, constants={"batch_size": "64"})
    assert (got["images_seen"], got["epochs"]) == (640, 0.5)
    assert "images_seen" not in row(tmp_path, text, constants={"batch_size": "64"}, as_is=True)


# Cells


def test_what_is_no_number_is_refused_with_its_place_and_all_at_once(tmp_path):
    words = refused(
        tmp_path, 'run_id,N,loss,status\na,"1,000",2,finished\nb,7,about 3,finished\nc,7,1,dunno\n', columns={}
    )
    assert "t.csv row 1: params ('N') is '1,000'; it must be a number; write it without marks" in words
    assert "t.csv row 2: val_loss ('loss') is 'about 3'; it must be a number" in words
    assert "t.csv row 3: status is 'dunno'; must be one of finished" in words


def test_missing_cells_are_unknown_whatever_word_they_use(tmp_path):
    words = ["", "NaN", "n/a", "None", "-", "2.5"]
    text = "run_id,N,loss\n" + "".join(f"r{row},1,{word}\n" for row, word in enumerate(words))
    assert made(tmp_path, text, columns={}).runs.frame["val_loss"].isna().tolist() == [True] * 5 + [False]


def test_times_in_any_zone_and_as_seconds(tmp_path):
    found = made(tmp_path, "run_id,started_at\na,2026-01-02T03:00:00+02:00\nb,1700000000\nc,2026-01-02\n", columns={})
    assert [str(t) for t in found.runs.frame["started_at"]] == [
        "2026-01-02 01:00:00+00:00", "2023-11-14 22:13:20+00:00", "2026-01-02 00:00:00+00:00",
    ]  # fmt: skip
    assert "it must be a time" in refused(tmp_path, "run_id,started_at\na,soon\n", columns={})


def test_run_ids_stay_text(tmp_path):
    found = made(tmp_path, "run_id,D,tag\n007,1,007\n1e5,2,08\n", columns={})
    assert found.runs.run_id.tolist() == ["007", "1e5"]
    assert found.runs.frame["tag"].tolist() == ["007", "08"]


# Files


def test_a_parquet_file_damaged_within_its_text_is_named(tmp_path):
    table = pa.table({"run_id": ["abcdefgh"], "loss": [1.0]})
    pq.write_table(table, tmp_path / "p.parquet", compression="none", use_dictionary=False)
    data = (tmp_path / "p.parquet").read_bytes()
    assert "p.parquet: is damaged" in refused(
        tmp_path, data.replace(b"abcdefgh", b"abc\xffefgh"), columns={}, name="p.parquet"
    )


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("x.csv", b"", "has no header line"),
        ("x.csv", b"a,a\n1,2\n", "two columns 'a'"),
        ("x.csv", b"a,b\n1,2,3\n", "Expected 2 columns, got 3"),
        ("x.csv", b"a,b\n", "holds no rows"),
        ("x.csv", b"\xff\xfea\x00,\x00", "UTF-8"),
        ("x.jsonl", b'{"a": 1}\n{"a": \n', "line 2 is not JSON"),
        ("x.jsonl", b"[1, 2]\n", "row 1 is list"),
        ("x.json", b"7", "is not a table"),
        ("x.parquet", b"PAR1 and no more", "not a whole Parquet file"),
        ("x.dat", b"1", "of which format? add --format"),
    ],
)
def test_files_that_are_no_tables(tmp_path, name, content, words):
    assert words in refused(tmp_path, content, columns={}, name=name)


def test_csv_of_many_makers(tmp_path):
    for text in ("\ufeffrun_id;loss\r\na;2.5\r\n", "run_id\tloss\na\t2.5\n", 'run_id,loss\n"a",2.5\n\n'):
        assert made(tmp_path, text, columns={}).runs.val_loss.tolist() == [2.5]


def test_json_as_lines_an_array_or_the_only_array_of_an_object(tmp_path):
    rows = [{"run_id": "a", "loss": 2.5, "model": {"width": 8, "kinds": [1]}}, {"run_id": "b", "loss": None}]
    for text in ("\n".join(map(json.dumps, rows)), json.dumps(rows), json.dumps({"runs": rows})):
        found = made(tmp_path, text, columns={}, name="x.json")
        assert found.runs.frame["model.width"].tolist()[0] == 8
        assert found.runs.frame["model.kinds"].tolist()[0] == "[1]"
        assert found.runs.frame["val_loss"].isna().tolist() == [False, True]


def test_values_that_cannot_be_right_are_kept_and_named(tmp_path):
    rows = "".join(f"r{row},-{row + 1},2.5\n" for row in range(30))
    found = made(tmp_path, "run_id,D,loss\n" + rows, columns={})
    assert found.runs.images_seen.tolist() == [-row - 1 for row in range(30)]
    assert any("row 1 (run r0): images_seen is -1; it must be positive" in note for note in found.notes)
    assert found.notes[-1].startswith("and 10 more values")
