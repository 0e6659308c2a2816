"""Tables of runs: names, checks and selections. What is bad is named and kept; what is left out is said."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scalelaw.errors import UserError
from scalelaw.runs import COLUMNS, MissingColumn, RunTable
from scalelaw.runs.table import EQUAL_COMPUTE

CELLS = {"variant": "N0", "params": 100, "images_seen": 1000}


def runs(*rows, **common):
    return RunTable.from_frame(pd.DataFrame([{**CELLS, **common, **row} for row in rows]))


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


# Selections


def test_finished_counts_what_it_leaves_out():
    table = runs(
        {"status": "finished"}, {"status": "failed"}, {"status": "diverged"}, {"status": "failed"}, val_loss=1.0
    )
    assert len(table.finished()) == 1
    assert table.finished().notes == ("left out: 2 failed, 1 diverged",)
    assert len(runs({}, {}).finished()) == 2


def test_best_is_by_mean_over_seeds_and_keeps_the_median_run():
    table = runs(
        {"peak_lr": 1.0, "seed": 0, "val_loss": 2.0},
        {"peak_lr": 1.0, "seed": 1, "val_loss": 2.3},
        {"peak_lr": 1.0, "seed": 2, "val_loss": 2.1},
        {"peak_lr": 2.0, "seed": 0, "val_loss": 1.0},  # a lucky draw of a worse rate
        {"peak_lr": 2.0, "seed": 1, "val_loss": 4.0},
        {"peak_lr": 4.0, "seed": 0, "val_loss": np.nan},
        {"variant": "N1", "peak_lr": 2.0, "val_loss": 5.0},
    )
    best = table.best_over("peak_lr")
    assert (best.peak_lr.tolist(), best.val_loss.tolist(), best.points) == ([1.0, 2.0], [2.1, 5.0], "best")
    assert best.notes == ("left out: 1 run of unknown loss or cost", "best over peak_lr: 2 of 6 runs kept")


def test_of_equally_good_rates_the_lowest_is_best():
    table = runs(
        {"peak_lr": 4.0, "val_loss": 2.0}, {"peak_lr": 2.0, "val_loss": 1.9}, {"peak_lr": 2.0, "val_loss": 2.1}
    )
    best = table.best_over()
    assert (best.peak_lr.tolist(), best.val_loss.tolist()) == ([2.0], [1.9])


def test_a_cell_of_unknown_rates_is_kept():
    best = runs({"peak_lr": None, "val_loss": 2.0}, {"variant": "N1", "peak_lr": 1.0, "val_loss": 3.0}).best_over()
    assert best.val_loss.tolist() == [2.0, 3.0]


@pytest.mark.parametrize(
    "column", ["variant", "params", "images_seen", "dataset", "epochs", "batch_size", "unique_images"]
)
def test_runs_that_differ_in_more_than_rate_and_seed_are_different_cells(column):
    table = runs({column: 1}, {column: 2}, {column: 2, "peak_lr": 3.0, "seed": 5})
    assert table.cells().tolist() == [0, 1, 1]


def test_settings_that_have_no_column_tell_cells_apart():
    def config(**changes):
        train = {"peak_lr": 1.0, "images": 10, **{k: v for k, v in changes.items() if k != "path"}}
        return {"config": json.dumps({"data": {"path": changes.get("path", "x")}, "train": train})}

    table = runs(
        config(), config(peak_lr=2.0), config(seed=3), config(path="y"), config(weight_decay=0.1), {"config": "?"}
    )
    assert table.cells().tolist() == [0, 0, 0, 0, 1, 2]


def test_lengths_known_by_cost_alone_are_lengths():
    table = RunTable.from_frame(pd.DataFrame({"variant": "N0", "core_hours": [1.0, 1.0, 2.0]}))
    assert table.cells().tolist() == [0, 0, 1]


def test_envelope_of_a_hand_drawn_set():
    cost = [1.0, 1.01, 2.0, 3.0, 4.0, 4.05, 9.0, np.nan, 0.5]
    loss = [3.0, 2.9, 2.9, 2.0, 1.5, 1.4, 1.4, 1.0, np.nan]
    table = RunTable.from_frame(pd.DataFrame({"core_hours": cost, "val_loss": loss}))
    front = table.envelope()
    assert (front.core_hours.tolist(), front.val_loss.tolist()) == ([1.01, 3.0, 4.05], [2.9, 2.0, 1.4])
    assert front.points == "envelope"
    assert front.notes == (
        "left out: 2 runs of unknown loss or cost",
        "envelope: 3 of 7 runs are matched by no cheaper one",
    )


def test_selections_of_nothing_are_empty():
    nothing = RunTable.from_frame(pd.DataFrame({"core_hours": [], "peak_lr": [], "val_loss": [], "variant": []}))
    unknown = RunTable.from_frame(pd.DataFrame({"core_hours": [None], "peak_lr": [1.0], "val_loss": [None]}))
    for table in (nothing, unknown):
        assert len(table.finished().best_over()) == len(table.envelope()) == 0


COSTS = st.floats(1, 1.3) | st.sampled_from([1.0, 1.02, 1.1, 50.0])
LOSSES = st.sampled_from([1.0, 2.0, 2.5, 3.0])


@given(st.lists(st.tuples(COSTS, LOSSES), min_size=1, max_size=30))
@settings(deadline=None, max_examples=150)
def test_envelope_properties(points):
    cost, loss = np.array(points).T
    front = RunTable.from_frame(pd.DataFrame({"core_hours": cost, "val_loss": loss})).envelope()
    kept_cost, kept_loss = front.core_hours, front.val_loss
    assert len(front) >= 1
    assert (np.diff(kept_cost) > 0).all()
    assert (np.diff(kept_loss) < 0).all()
    assert kept_loss.min() == loss.min()
    for c, l in zip(kept_cost, kept_loss, strict=True):
        cheaper = (cost < c) & (loss <= l)
        equally_cheap = (cost <= c * (1 + EQUAL_COMPUTE)) & (loss < l)
        assert not (cheaper | equally_cheap).any()
    for c, l in points:  # and every run left out is matched
        if not ((kept_cost == c) & (kept_loss == l)).any():
            assert ((cost <= c * (1 + EQUAL_COMPUTE)) & ((loss < l) | ((loss == l) & (cost < c)))).any()


def test_masks_and_notes():
    table = runs({"val_loss": 1.0}, {"val_loss": 2.0})
    kept = table.where(table.val_loss > 1.5, "left out: low ones")
    assert (kept.val_loss.tolist(), kept.notes, table.notes) == ([2.0], ("left out: low ones",), ())
