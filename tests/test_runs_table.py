"""Tables of runs: reading, names, units and checks. What is bad is named and kept."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scalelaw.errors import UserError
from scalelaw.runs import COLUMNS, MissingColumn, RunTable


@pytest.fixture
def frame():
    return pd.DataFrame({
        "run_id": ["a", "b", "c"], "variant": ["N0", "N1", "N2"], "params": [10, 20, 30], "peak_lr": [0.1, 0.2, 0.4],
        "core_hours": [1.0, 2.0, 4.0], "val_loss": [3.0, 2.0, 1.5],
        "started_at": pd.to_datetime(["2026-01-02T03:04:05Z"] * 3),
    })  # fmt: skip


# Reading


def test_every_way_of_reading_gives_the_same_table(tmp_path, frame):
    table = RunTable.from_frame(frame)
    table.write(tmp_path / "runs.parquet")
    frame.to_csv(tmp_path / "runs.CSV", index=False)
    for read in (RunTable.load(tmp_path / "runs.parquet"), RunTable.load(str(tmp_path / "runs.CSV"))):
        pd.testing.assert_frame_equal(read.frame, table.frame, check_dtype=False)
        assert (len(read), read.problems, read.points) == (3, (), "all")
    np.testing.assert_array_equal(table.core_hours, [1, 2, 4])


def test_the_fields_own_letters_are_known():
    read = RunTable.from_frame(
        pd.DataFrame({"C": [6e3], "N": [10], "D": [100], "loss": [2.0], "L": [9.0], "extra": [1]})
    )
    assert list(read.frame) == ["train_flop", "params", "images_seen", "val_loss", "L", "extra"]
    assert read.val_loss.tolist() == [2.0]


def test_named_columns_win_over_letters_and_over_our_own_names():
    table = pd.DataFrame({"N": [1], "Model Size": [2], "val_loss": [3.0], "test": [4.0], "D": [5]})
    read = RunTable.from_frame(table, {"N": "Model Size", "loss": "test"})
    assert (read.params.tolist(), read.val_loss.tolist(), read.images_seen.tolist()) == ([2], [4.0], [5])
    assert set(table) == {"N", "Model Size", "val_loss", "test", "D"}  # the caller's frame is as it was
    both = RunTable.from_frame(pd.DataFrame({"N": [1], "params": [2]}))
    assert (list(both.frame), both.params.tolist()) == (["N", "params"], [2])
    swapped = RunTable.from_frame(pd.DataFrame({"N": [1], "D": [2]}), {"N": "D", "D": "N"})
    assert (swapped.params.tolist(), swapped.images_seen.tolist()) == ([2], [1])


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"N": "model size"}, ["no column 'model size'", "did you mean 'Model Size'?", "columns: Model Size, T"]),
        ({"parms": "T"}, ["--column parms: is no known column", "did you mean 'params'?", "known: run_id"]),
        ({"N": "T", "D": "T"}, ["--column D: 'T' is params already"]),
        ({"loss": "T", "val_loss": "Model Size"}, ["val_loss is named already"]),
        ({"parms": "t", "N": "x"}, ["parms", "'t'", "'x'"]),
    ],
)
def test_wrong_column_maps_are_named_all_at_once(columns, words):
    with pytest.raises(UserError) as caught:
        RunTable.from_frame(pd.DataFrame({"Model Size": [1], "T": [2.0]}), columns)
    assert all(word in str(caught.value) for word in words), caught.value


def test_two_columns_of_one_name_are_refused():
    with pytest.raises(UserError, match="two columns 'val_loss'"):
        RunTable.from_frame(pd.DataFrame([[1, 2]], columns=["val_loss", "val_loss"]))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("absent.csv", None, "no such file or folder"),
        ("x.txt", b"a", "neither a results folder nor"),
        ("x.parquet", b"PAR1 but no more", "not a whole Parquet file"),
        ("empty.parquet", b"", "not a whole Parquet file"),
        ("x.csv", b"", "not a CSV table with a header line"),
        ("y.csv", b"a,b\n1,2,3\n4,5,6,7,8\n", "not a CSV table"),
        ("c.csv", b"N,D,loss\n1,2,3,52\n2,3,3,41\n", "rows have more cells than the header has names"),
        ("d.csv", b"N,loss,loss\n1,2,3\n", "has two columns 'loss'; rename one"),
        ("z.csv", b"\xff\xfe\x00\x81", "not a CSV table"),
    ],
)
def test_what_cannot_be_read_is_one_line_with_its_path(tmp_path, name, content, words):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=words) as caught:
        RunTable.load(path)
    (message,) = caught.value.messages
    assert message.startswith(f"{path}: ")
    assert "\n" not in message


def test_truncated_parquet_is_named(tmp_path, frame):
    path = tmp_path / "runs.parquet"
    RunTable.from_frame(frame).write(path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(UserError, match=r"runs\.parquet: is not a whole Parquet file"):
        RunTable.load(path)


# Units


def test_units_survive_writing_and_reading(tmp_path, frame):
    first, second = tmp_path / "a.parquet", tmp_path / "b.parquet"
    RunTable.from_frame(frame).write(first)
    RunTable.load(first).where([True, False, True]).write(second)
    for path in (first, second):
        schema = pq.read_schema(path)
        for name in frame:
            assert schema.field(name).metadata == {
                key.encode(): str(value).encode() for key, value in COLUMNS[name].metadata.items()
            }
        assert schema.field("core_hours").metadata[b"unit"] == b"TPU-v4 core-hours"
        assert schema.field("params").type == pa.int64()
        assert schema.field("started_at").type == pa.timestamp("us", tz="UTC")
        assert schema.metadata[b"scalelaw_schema"] == b"1"


def test_foreign_columns_keep_their_metadata(tmp_path):
    first, second = tmp_path / "a.parquet", tmp_path / "b.parquet"
    field = pa.field("energy", pa.float64(), metadata={"unit": "kWh"})
    pq.write_table(pa.Table.from_arrays([[1.0], [2.0]], schema=pa.schema([field, ("N", pa.int64())])), first)
    RunTable.load(first).finished().write(second)
    assert pq.read_schema(second).field("energy").metadata == {b"unit": b"kWh"}
    assert pq.read_schema(second).field("params").metadata[b"unit"] == b"1"


def test_anything_that_was_read_can_be_written(tmp_path):
    table = RunTable.from_frame(pd.DataFrame({
        "run_id": [7, 8], "D": [1.5, 1e30], "N": ["many", 3], "started_at": ["soon", "2026-01-01"], "misc": [1, "a"],
        "seed": pd.array([1, None], dtype="Int64"), "status": ["finished", None],
    }))  # fmt: skip
    table.write(tmp_path / "runs.parquet")
    read = RunTable.load(tmp_path / "runs.parquet")
    assert read.run_id.tolist() == ["7", "8"]
    assert read.images_seen.tolist() == [1.5, 1e30]
    np.testing.assert_array_equal(read.params, [np.nan, 3])
    np.testing.assert_array_equal(read.seed, [1, np.nan])
    assert read.frame["misc"].tolist() == ["1", "a"]
    assert read.frame["started_at"].isna().tolist() == [True, False]


# Checks


def test_bad_values_are_named_one_by_one_and_stay():
    good = {"status": "finished", "val_loss": 2.0, "params": 10, "peak_lr": 0.1, "macs_per_image": 100.0,
            "images_seen": 10, "train_flop": 6000.0, "utilisation": 0.36,
            "core_hours": 6000 / (0.36 * 4.95e17)}  # fmt: skip
    bad = [
        {"val_loss": None}, {"val_loss": -1.0}, {"val_loss": np.inf}, {"params": "ten"}, {"params": 0},
        {"train_flop": 7000.0}, {"core_hours": 1.0}, {"status": "done"}, {"status": "diverged", "val_loss": None},
        {"status": "failed", "peak_lr": -1.0},
    ]  # fmt: skip
    table = RunTable.from_frame(
        pd.DataFrame([{"run_id": f"r{i}", **good, **change} for i, change in enumerate([{}, *bad])])
    )
    assert len(table) == 11
    place = "a DataFrame: row"
    assert sorted(table.problems) == sorted([
        f"{place} 2 (run r1): val_loss is unknown; a finished run has a loss",
        f"{place} 3 (run r2): val_loss is -1.0; it must be positive",
        f"{place} 4 (run r3): val_loss is inf; it must be finite",
        f"{place} 5 (run r4): params is 'ten'; it must be a number",
        f"{place} 6 (run r5): params is 0; it must be positive",
        f"{place} 7 (run r6): train_flop is 7000.0; macs_per_image and images_seen imply another value",
        f"{place} 7 (run r6): core_hours is {good['core_hours']}; train_flop and utilisation imply another value",
        f"{place} 8 (run r7): core_hours is 1.0; train_flop and utilisation imply another value",
        f"{place} 9 (run r8): status is 'done'; it must be one of finished, running, pending, failed, diverged",
    ])  # fmt: skip


def test_a_run_id_that_comes_twice_is_named():
    table = RunTable.from_frame(pd.DataFrame({"run_id": ["a", "b", "a", None, None], "val_loss": 1.0}))
    assert table.problems == ("a DataFrame: row 3: run_id is 'a'; an earlier row has it too; keep one of the two",)
    assert len(table) == 5


def test_measured_core_hours_are_checked_against_the_stopwatch():
    row = {"hardware": "TPU v4", "devices": 4, "train_seconds": 1800.0, "core_hours_basis": "measured"}
    rows = [{**row, "core_hours": 4.0}, {**row, "core_hours": 2.0}, {**row, "core_hours": 2.0, "hardware": "cpu"}]
    (problem,) = RunTable.from_frame(pd.DataFrame(rows)).problems
    assert problem == "a DataFrame: row 2: core_hours is 2.0; train_seconds and devices imply another value"


def test_missing_and_misspelt_columns():
    table = RunTable.from_frame(pd.DataFrame({"valloss": [1.0], "N": [2]}))
    with pytest.raises(
        MissingColumn, match=r"no column 'val_loss'; did you mean 'valloss'\?; name it with --column loss"
    ):
        _ = table.val_loss
    with pytest.raises(AttributeError, match=r"'core_hour'; did you mean 'core_hours'\?"):
        _ = table.core_hour
    with pytest.raises(MissingColumn, match="'peak_lr' to take the best over; pass --points all"):
        table.best_over()
    assert (table.has("params"), table.has("val_loss"), hasattr(table, "val_loss")) == (True, False, False)


def test_variables_of_laws():
    table = RunTable.from_frame(pd.DataFrame({"C": [1.0], "N": [2], "D": [3], "loss": [4.0]}))
    assert [(table.variable(v)[0].tolist(), table.variable(v)[1]) for v in "CNDL"] == [
        ([1.0], "train_flop"), ([2.0], "params"), ([3.0], "images_seen"), ([4.0], "val_loss")]  # fmt: skip
    ours = RunTable.from_frame(table.frame.assign(core_hours=[5.0], macs_per_image=pd.array([6], dtype="Int64")))
    assert [ours.variable(v)[1] for v in "CN"] == ["core_hours", "macs_per_image"]
    unknown = RunTable.from_frame(table.frame.assign(core_hours=[None]))
    assert unknown.variable("C")[1] == "train_flop"
    with pytest.raises(MissingColumn, match=r"'images_seen'.*--column D="):
        RunTable.from_frame(pd.DataFrame({"N": [1]})).variable("D")


def test_a_csv_whose_rows_all_end_in_a_comma_keeps_its_columns(tmp_path):
    (tmp_path / "t.csv").write_text("N,D,loss\n1,2,3.5,\n2,3,3.4,\n")
    assert RunTable.load(tmp_path / "t.csv").val_loss.tolist() == [3.5, 3.4]
