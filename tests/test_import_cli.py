"""`scalelaw import` and `scalelaw export` as a person calls them."""

import json
import math

import pytest
from event_files import curve

from scalelaw import cli

NAMES = ["--column", "run_id=Run", "--column", "N=Model Size", "--column", "D=Tokens", "--column", "loss=Loss"]


@pytest.fixture
def call(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def _call(*words):
        with pytest.raises(SystemExit) as end:
            cli.main([str(word) for word in words])
        out, err = capsys.readouterr()
        return end.value.code, out, err

    return _call


@pytest.fixture
def table(tmp_path):
    """Twenty runs of a known law: 1.7 + 400 N^-.34 + 410 D^-.28, sizes in millions, loss in bits."""
    lines = ["Run,Model Size,Tokens,Loss,Notes"]
    for size in (1e6, 4e6, 16e6, 64e6):
        for tokens in (1e8, 2e8, 4e8, 8e8, 16e8):
            loss = 1.7 + 400 * size**-0.34 + 410 * tokens**-0.28
            lines.append(f"r{size:.0f}-{tokens:.0f},{size / 1e6!r},{tokens!r},{loss / math.log(2)!r},x")
    (tmp_path / "t.csv").write_text("\n".join(lines))
    return "t.csv"


def test_what_was_done_is_told(call, table):
    code, out, err = call("import", table, "-o", "o.parquet", *NAMES, "--unit", "N=millions", "--unit", "loss=bits")
    assert (code, err) == (0, "")
    assert "t.csv: CSV, 20 rows" in out
    assert "params       'Model Size'  in millions" in out
    assert "kept beside ours: 'Notes'" in out
    assert "unknown in every run: C (core_hours or train_flop), learning rate (peak_lr)" in out
    assert out.endswith("20 runs written to o.parquet\n")


@pytest.mark.parametrize("out", ["o.parquet", "results/theirs"])
def test_reading_commands_take_what_was_imported(call, table, out):
    units = ["--unit", "N=millions", "--unit", "loss=bits", "--flop", "6nd", "--set", "peak_lr=0.1"]
    units += ["--set", "status=finished"]
    assert call("import", table, "-o", out, *NAMES, *units)[0] == 0
    code, answer, _ = call("fit", out, "--law", "L = E + A N^-alpha + B D^-beta", "--json")
    found = json.loads(answer)
    assert (code, found["n"]) == (0, 20)
    assert found["params"]["alpha"] == pytest.approx(0.34, rel=1e-6)
    assert found["params"]["E"] == pytest.approx(1.7, rel=1e-6)
    assert call("fit", out, "--law", "offset", "--json")[0] == 0
    if out == "results/theirs":
        assert "finished     20" in call("status", out)[1]


def test_json_prints_one_object(call, table):
    code, out, err = call("import", table, "-o", "o.parquet", *NAMES, "--json")
    answer = json.loads(out)
    assert (code, err, answer["runs"], answer["others"]) == (0, "", 20, ["Notes"])
    assert answer["mapping"]["columns"]["params"] == "Model Size"
    assert len(answer["sources"][0]["files"][0]["sha256"]) == 64


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["absent.csv"], "absent.csv: no such file or folder"),
        (["t.csv", "--column", "loss=loss"], "no column 'loss'; did you mean 'Loss'?"),
        (["t.csv", "--unit", "loss=nits"], "--unit loss: val_loss is not counted in 'nits'; did you mean 'nats'?"),
        (["t.csv", "--column", "N=Notes"], "t.csv row 1: params ('Notes') is 'x'; it must be a number"),
        (["t.csv", "--set", "devices=many"], "--set devices=many: devices is 'many'; it must be a number"),
        (["t.csv", "--utilisation", "2"], "--utilisation 2.0: must be above 0 and at most 1"),
        (["t.csv", "--mapping", "m.toml"], "--mapping m.toml: cannot be read"),
        (["t.csv", "--step", "at"], "has no column 'at'"),
        (["results/folder"], "every reading command takes it as it is"),
        (["t.csv", "-o", "new/folder"], "of 20 runs that is unknown; add --set status=finished"),
        ([], "name at least one source"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(call, table, tmp_path, words, said):
    (tmp_path / "results" / "folder").mkdir(parents=True)
    (tmp_path / "results" / "folder" / "sweep.json").write_text("{}")
    before = sorted(tmp_path.rglob("*"))
    code, out, err = call("import", *words, *([] if "-o" in words else ["-o", "new/o.parquet"]))
    assert (code, out) == (2, "")
    assert said in err
    assert all(line.startswith("scalelaw: ") for line in err.splitlines())
    assert "Traceback" not in err
    assert sorted(tmp_path.rglob("*")) == before


def test_traces_are_kept_in_a_folder_and_named_when_there_is_no_room(call, tmp_path):
    for size in (10, 20):
        curve(tmp_path / "logs" / f"s{size}" / "events.out.tfevents.1", [4.0, 80 / size], N=size, C=size * 1e15)
    words = ["--column", "loss=val/loss", "--total-steps", "200"]
    assert "a file has no room for traces" in call("import", "logs", "-o", "o.parquet", *words)[1]
    code, out, _ = call("import", "logs", "-o", "results/logs", *words)
    assert code == 0
    assert out.endswith("2 runs, 2 traces written to results/logs\n")
    assert (tmp_path / "results" / "logs" / "s10" / "trace" / "part-00000.parquet").exists()
    assert "finished      2" in call("status", "results/logs")[1]


def test_export_and_import_again(call, table):
    call("import", table, "-o", "o.parquet", *NAMES, "--unit", "N=millions")
    code, out, err = call("export", "o.parquet", "-o", "o.csv")
    assert (code, err) == (0, "")
    assert out == "o.csv: 20 runs, 5 columns\n"
    assert call("import", "o.csv", "-o", "again.parquet")[0] == 0
    fits = [
        json.loads(call("fit", name, "--law", "size-data", "--json")[1])
        for name in ("o.parquet", "o.csv", "again.parquet")
    ]
    assert fits[0]["params"] == fits[1]["params"] == fits[2]["params"]
    assert call("export", "o.parquet", "-o", "o.csv")[0] == 2
