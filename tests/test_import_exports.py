"""Runs out and in again, exact to the last bit, by every format."""

import hashlib
import json
from datetime import UTC, datetime

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from scalelaw.errors import UserError
from scalelaw.imports import ColumnMap, Options, export, exports, import_runs, write
from scalelaw.imports.writing import PROVENANCE, check_out
from scalelaw.runs import RunTable
from scalelaw.runs.schema import COLUMNS, STATUSES, python_type

NO_SHRINK = (Phase.explicit, Phase.reuse, Phase.generate)  # every step writes and flushes two files
FORMATS = [".csv", ".parquet", ".jsonl"]


def round_trip(runs, folder, suffix):
    out, back = folder / f"out{suffix}", folder / "back.parquet"
    for path in (out, back):
        path.unlink(missing_ok=True)
    export(runs, out)
    write(import_runs([str(out)], Options(ColumnMap()), as_is=True), back)
    return RunTable.load(back)


def same(runs, back):
    known = [name for name in runs.frame if runs.frame[name].notna().any()]
    assert {name for name in back.frame if back.frame[name].notna().any()} == set(known)
    for name in known:
        missing = runs.frame[name].isna().tolist()
        assert back.frame[name].isna().tolist() == missing, name
        pairs = zip(runs.frame[name], back.frame[name], missing, strict=True)
        assert all(gone or (one == other and str(one) != "nan") for one, other, gone in pairs), name


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("name", ["demo", "digits", "prediction"])
def test_a_recorded_sweep_comes_back_whole(tmp_path, suffix, name):
    runs = RunTable.load(f"runs/recorded/{name}/runs.parquet")
    back = round_trip(runs, tmp_path, suffix)
    same(runs, back)
    assert pq.read_schema(tmp_path / "back.parquet").field("val_loss").metadata[b"unit"] == b"nats"


VALUES = {
    # not "nan", which `same` takes for an unknown value that became text
    str: st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12).filter("nan".__ne__),
    int: st.integers(1, 2**53),
    float: st.floats(1e-300, 1e300),
    datetime: st.datetimes(datetime(1970, 1, 2), datetime(2200, 1, 1), timezones=st.just(UTC)),
}
OWN = {"status": st.sampled_from(STATUSES), "core_hours_basis": st.sampled_from(["measured", "estimated"])}
EXTRA = st.one_of(
    st.lists(st.integers(-(2**53), 2**53), min_size=4, max_size=4),
    st.lists(st.floats(allow_nan=False), min_size=4, max_size=4),
    st.lists(st.booleans(), min_size=4, max_size=4),
    st.lists(VALUES[str].map(lambda text: "t" + text), min_size=4, max_size=4),
)


@st.composite
def tables(draw):
    names = draw(st.lists(st.sampled_from(list(COLUMNS)), unique=True, min_size=1))
    columns = {"run_id": draw(st.lists(VALUES[str].filter(bool), min_size=4, max_size=4, unique=True))}
    for name in names:
        if name != "run_id":
            value = OWN.get(name, VALUES[python_type(name)])
            columns[name] = draw(st.lists(st.none() | value, min_size=4, max_size=4))
    extra = draw(EXTRA)
    columns["an extra, of theirs"] = extra
    return pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in columns.items()})


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("word", ["nan", "None", "null", "inf", "true", "007", "-"])
def test_runs_called_as_unknown_values_are_written_come_back(tmp_path, suffix, word):
    runs = RunTable.from_frame(pd.DataFrame({"run_id": [word, "b"], "variant": [word, None], "x": [1, 2]}))
    back = round_trip(runs, tmp_path, suffix).frame
    assert (back["run_id"].tolist(), back["variant"].isna().tolist(), back["variant"][0]) == (
        [word, "b"],
        [False, True],
        word,
    )


@pytest.mark.parametrize("suffix", FORMATS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20, phases=NO_SHRINK)
@given(frame=tables())
def test_any_table_comes_back_whole(tmp_path, suffix, frame):
    runs = RunTable.from_frame(frame)
    same(runs, round_trip(runs, tmp_path, suffix))


def test_the_reading_commands_read_an_exported_csv_as_exactly(tmp_path):
    runs = RunTable.from_frame(pd.DataFrame({"run_id": ["007", "1e5"], "val_loss": [0.1 + 0.2, 1 / 3]}))
    export(runs, tmp_path / "r.csv")
    same(runs, RunTable.load(tmp_path / "r.csv"))


def test_text_that_csv_takes_for_numbers_is_said(tmp_path):
    runs = RunTable.from_frame(pd.DataFrame({"run_id": ["a", "b"], "tag": ["7", "8"]}))
    (note,) = export(runs, tmp_path / "r.csv")
    assert "column 'tag' holds text that reads as numbers" in note
    assert export(runs, tmp_path / "r.jsonl") == []
    same(runs, round_trip(runs, tmp_path, ".jsonl"))


def test_nested_columns_of_a_foreign_parquet_survive_as_they_can(tmp_path):
    table = pa.table({"run_id": ["a"], "shape": [[1, 2]], "model": [{"width": 8}]})
    pq.write_table(table, tmp_path / "f.parquet")
    runs = RunTable.load(tmp_path / "f.parquet")
    export(runs, tmp_path / "r.csv")
    export(runs, tmp_path / "r.jsonl")
    assert '"[1, 2]"' in (tmp_path / "r.csv").read_text()
    assert json.loads((tmp_path / "r.jsonl").read_text())["shape"] == [1, 2]


@pytest.mark.parametrize("name", ["r.txt", "there.csv"])
def test_places_that_no_export_may_take(tmp_path, name):
    (tmp_path / "there.csv").write_text("mine")
    with pytest.raises(UserError, match=r"must end in|is there already"):
        exports.check_out(tmp_path / name)


# Imports on disk


def small(tmp_path):
    (tmp_path / "t.csv").write_text("run_id,C,loss,status\na,1e18,2.5,finished\nb,4e18,2.25,finished\n")
    return import_runs([str(tmp_path / "t.csv")], Options(ColumnMap()))


def test_provenance_travels_with_the_file(tmp_path):
    write(small(tmp_path), tmp_path / "o.parquet")
    told = json.loads(pq.read_schema(tmp_path / "o.parquet").metadata[PROVENANCE.encode()])
    (file,) = told["sources"][0]["files"]
    assert file["sha256"] == hashlib.sha256((tmp_path / "t.csv").read_bytes()).hexdigest()
    assert datetime.fromisoformat(told["imported_at"]).tzinfo is not None
    assert (told["choices"]["as_is"], told["choices"]["keep"]) == (False, None)
    assert {"column": "train_flop", "source": "C", "unit": "FLOP", "unit_said": False} in told["columns"]


def test_a_folder_is_a_results_folder(tmp_path):
    write(small(tmp_path), tmp_path / "results" / "theirs")
    runs = RunTable.load(tmp_path / "results" / "theirs")
    assert (runs.problems, runs.is_results, len(runs.finished())) == ((), True, 2)
    assert json.loads((tmp_path / "results" / "theirs" / "provenance.json").read_text())["sources"][0]["rows"] == 2
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["theirs"]


@pytest.mark.parametrize("name", ["o.csv", "full", "o.parquet", "t.csv"])
def test_places_that_no_import_may_take(tmp_path, name):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    (tmp_path / "o.parquet").touch()
    with pytest.raises(UserError, match=r"kept as Parquet|is there already"):
        check_out(tmp_path / name)


@pytest.mark.parametrize("name", ["o.parquet", "o", "new/deep/o"])
def test_a_write_that_fails_leaves_nothing(tmp_path, monkeypatch, name):
    found = small(tmp_path)
    before = sorted(tmp_path.rglob("*"))

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq, "write_table", full)
    with pytest.raises(UserError, match="cannot be written"):
        write(found, tmp_path / name)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["a/b", "..", ".hidden", "x" * 300])
def test_a_run_that_no_folder_can_be_named_after_is_refused(tmp_path, name):
    (tmp_path / "h.csv").write_text(f"run_id,_step,loss,status\n{name},1,2.5,finished\n")
    found = import_runs([str(tmp_path / "h.csv")], Options(ColumnMap()))
    with pytest.raises(UserError, match="cannot be the name of a folder for its trace"):
        write(found, tmp_path / "o")
    assert not (tmp_path / "o").exists()
    write(found, tmp_path / "o.parquet")
