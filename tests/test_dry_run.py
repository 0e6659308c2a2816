"""`sweep --dry-run`: every run, core-hours, dollars at a price, minutes here, memory; the paper's own sweeps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_sweep import TINY, snapshot

from scalelaw import cli
from scalelaw.plan.cost import cost_of
from scalelaw.plan.models import Candidate
from scalelaw.runs import ResultsFolder, Run
from scalelaw.sweep import expand, read_spec

ROOT = Path(__file__).resolve().parents[1]
SPECS = sorted((ROOT / "runs").glob("*.toml"))
WIDE = """[sweep]
name = "wide"
[data]
source = "hierarchy"
train_images = [1000, 2000]
noise = [0.1, 0.25]
classes = 16
rules = [[8, 4], [4, 4]]
[model]
variants = ["N0", "N8"]
[train]
epochs = 1
peak_lr = [0.5, 1]
batch_size = [16, 32]
seeds = [0, 1]
weight_decay = [1e-6, 1.2345e-5]
warmup_share = [0.0, 0.1]
[[first]]
train.seeds = 0
"""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "80")


def said(capsys, *argv):
    with pytest.raises(SystemExit) as stop:
        cli.main([str(word) for word in argv])
    told = capsys.readouterr()
    assert (stop.value.code, told.err) == (0, "")
    return told.out


def parsed(capsys, *argv):
    """The one object that --json prints."""
    return json.loads(said(capsys, *argv, "--json"))


def refused(capsys, *argv):
    with pytest.raises(SystemExit) as stop:
        cli.main([str(word) for word in argv])
    assert stop.value.code == 2
    return capsys.readouterr().err


# The paper's sweeps


@pytest.mark.parametrize(("figure", "runs"), [("figure2", 108), ("figure3", 90)])
def test_the_papers_sweeps_cost_what_the_paper_says_about(capsys, tmp_path, figure, runs):
    """.32k to 109k core-hours at 36 % of the peak beside the paper's .4k to 110k, without an image on disk."""
    spec = ROOT / "runs" / f"{figure}.toml"
    out = said(capsys, "sweep", spec, "--dry-run")
    assert "322 to 109,000" in out
    assert "The paper's runs: 0.4k to 110k core-hours each" in out
    assert "the images are not there" in out
    assert list(tmp_path.iterdir()) == []
    found = parsed(capsys, "sweep", spec, "--dry-run")
    hours = {(run["variant"], run["epochs"]): run["core_hours"] for run in found["runs"]}
    assert round(hours["F0", 0.25] / 1e3, 2) == 0.32
    assert round(hours["F7+", 8] / 1e3) == 109
    assert min(hours.values()) == hours["F0", 0.25]
    assert max(hours.values()) == hours["F7+", 8]
    assert hours["F7+", 8] == pytest.approx(6 * 100.86e9 * 8 * 4e9 / (0.36 * 4.95e17), rel=1e-4)
    models = ["F0", "F1", "F3", "F3+", "F7", "F7+"] if figure == "figure2" else ["F0", "F3", "F7+"]
    assert set(hours) == {(model, epochs) for model in models for epochs in (0.25, 0.5, 1, 2, 4, 8)}
    assert len(found["runs"]) == runs
    assert {run["run_id"] for run in found["runs"]} == {None}
    assert {run["batch_size"] for run in found["runs"]} == {4096}
    assert {(run["resolution"], run["classes"], run["unique_images"]) for run in found["runs"]} == {
        (224, 30_000, 4_000_000_000)
    }
    rates = {run["peak_lr"] for run in found["runs"]}
    assert {0.4, 0.8, 1.6} <= rates
    assert all((rate / 1.6).as_integer_ratio()[0].bit_count() == 1 for rate in rates)  # factors of 2 around 1.6
    assert not found["data_seen"]


def test_training_without_the_images_is_refused(capsys, tmp_path):
    told = refused(capsys, "sweep", ROOT / "runs" / "figure2.toml")
    assert "figure2.toml:" in told
    assert "holds no such file" in told
    assert "a dry run does without" in told
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_without_images_needs_their_number_and_classes(capsys):
    text = (ROOT / "runs" / "figure2.toml").read_text()
    Path("spec.toml").write_text(text.replace("classes = 30_000\n", ""))
    assert "where train_images and classes are given" in refused(capsys, "sweep", "spec.toml", "--dry-run")


def test_images_that_are_there_are_looked_at_all_the_same(capsys, tmp_path):
    text = (ROOT / "runs" / "figure2.toml").read_text()
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "train-0.array_record").write_bytes(b"no record")
    Path("spec.toml").write_text(text)
    assert "spec.toml:" in refused(capsys, "sweep", "spec.toml", "--dry-run")


@pytest.mark.parametrize("spec", [path for path in SPECS if path.name.startswith("figure")], ids=lambda path: path.name)
def test_every_example_opens_with_its_command_and_expected_result(spec):
    text = spec.read_text()
    opening = text[: text.index("[sweep]")]
    assert opening.startswith("# Figure ")
    command = "finetune" if "[parent]" in text else "sweep"
    assert f"#   scalelaw {command} runs/{spec.name}" in opening
    assert "# Expected: " in opening


# What is printed


@pytest.mark.parametrize("spec", [path for path in SPECS if path.stem.startswith(("figure", "demo", "known"))],
                         ids=lambda path: path.name)  # fmt: skip
def test_every_line_fits_80_columns_and_every_run_is_there(capsys, spec):
    runs = expand(read_spec(spec, planning=True))
    for more in ([], ["--hardware", "h100", "--price", "2.5"]):
        lines = said(capsys, "sweep", spec, "--dry-run", *more).splitlines()
        assert max(map(len, lines)) <= 80
        starts = [line.split()[:2] for line in lines if line[:1].strip()]
        for index, run in enumerate(runs):
            names = (run.run_id, run.run_id[:8]) if run.config.data.seen else (str(index + 1),)
            assert any([name, run.config.model.variant] in starts for name in names)


def test_settings_that_do_not_fit_go_on_a_second_line(capsys):
    Path("wide.toml").write_text(WIDE)
    out = said(capsys, "sweep", "wide.toml", "--dry-run", "--hardware", "h100", "--price", "2")
    lines = out.splitlines()
    assert max(map(len, lines)) <= 80
    runs = expand(read_spec(Path("wide.toml")))
    assert len(runs) == 2**9
    assert sum(line.startswith(runs[0].run_id[:8]) for line in lines) == 1
    told = parsed(capsys, "sweep", "wide.toml", "--dry-run")["runs"]
    assert [(run["run_id"], run["config"]) for run in told] == [(run.run_id, run.config.to_json()) for run in runs]
    for word in ("weight_decay 1e-06", "weight_decay 1.234e-05", "warmup_share 0.1", "rules [8, 4]", "noise 0.25"):
        assert word in out.replace("\n    ", " ")


def test_totals_by_model_add_up(capsys):
    Path("spec.toml").write_text(TINY.replace('["N0"]', '["N0", "N1"]'))
    runs = expand(read_spec(Path("spec.toml")))
    lines = [line.split() for line in said(capsys, "sweep", "spec.toml", "--dry-run").splitlines()]
    totals = {line[0]: line for line in lines if line and line[0] in ("N0", "N1", "all")}
    for name, line in totals.items():
        own = [run for run in runs if name in ("all", run.config.model.variant)]
        assert line[1] == str(len(own))
        assert float(line[5]) == pytest.approx(sum(run.cost.core_hours for run in own), rel=0.01)


def test_runs_that_are_done_are_marked_and_left_out_of_what_is_left(capsys, tmp_path):
    Path("spec.toml").write_text(TINY)
    runs = expand(read_spec(Path("spec.toml")))
    results = ResultsFolder(tmp_path / "out", new=True)
    results.begin({"name": "tiny", "runs": [run.run_id for run in runs]}, {})
    for run in runs[:3]:
        results.commit_row(Run(run_id=run.run_id, status="finished", variant="N0", batch_size=16, images_seen=200,
                               train_seconds=2.0))  # fmt: skip
    before = snapshot(tmp_path)
    found = parsed(capsys, "sweep", "spec.toml", "-o", "out", "--dry-run")
    assert snapshot(tmp_path) == before
    assert [run["status"] for run in found["runs"]] == ["done"] * 3 + ["left"] * 5
    assert found["core_hours_left"] == pytest.approx(sum(run.cost.core_hours for run in runs[3:]))
    assert {run["seconds_basis"] for run in found["runs"]} == {"this sweep"}
    assert found["runs"][0]["seconds"] == pytest.approx(2.0)
    out = said(capsys, "sweep", "spec.toml", "-o", "out", "--dry-run")
    assert sum(line.endswith("done") for line in out.splitlines()) == 3
    assert "5 to train" in out
    assert "speed measured in this sweep" in out


# Dollars


def test_dollars_are_those_of_predict(capsys):
    Path("spec.toml").write_text(TINY)
    found = parsed(capsys, "sweep", "spec.toml", "--dry-run", "--hardware", "h100", "--price", "3", "--devices", "2")
    runs = expand(read_spec(Path("spec.toml")))
    for run, told in zip(runs, found["runs"], strict=True):
        candidate = Candidate("N0", run.cost.size.params, float(run.cost.size.macs_per_image))
        wanted = cost_of(run.cost.train_flop, candidate, hardware="h100", devices=2, batch_size=16,
                         price_per_device_hour=3.0)  # fmt: skip
        assert wanted.dollars is not None
        assert told["dollars"] == wanted.dollars.to_dict()
        assert told["device_hours"] == wanted.device_hours.to_dict()
        assert told["dollars"]["mid"] == pytest.approx(3 * told["device_hours"]["mid"])
    assert found["dollars"]["high"] == pytest.approx(sum(run["dollars"]["high"] for run in found["runs"]))
    out = said(capsys, "sweep", "spec.toml", "--dry-run", "--hardware", "h100", "--price", "3")
    assert "dollars at 3 a device-hour" in " ".join(out.split())
    assert "29.7 to 39.9 % of peak are the published" in " ".join(out.split())


def test_a_tpu_v4_chip_hour_is_two_core_hours_at_the_specs_own_utilisation(capsys):
    Path("spec.toml").write_text(TINY.replace('"tiny"\n', '"tiny"\nutilisation = 0.2\n'))
    found = parsed(capsys, "sweep", "spec.toml", "--dry-run", "--hardware", "tpu-v4", "--price", "4")
    for run in found["runs"]:
        assert run["device_hours"]["mid"] == pytest.approx(run["core_hours"] / 2)
        assert run["dollars"]["low"] == run["dollars"]["high"] == pytest.approx(2 * run["core_hours"])
    half = parsed(capsys, "sweep", "spec.toml", "--dry-run", "--hardware", "tpu-v4", "--utilisation", "0.4")
    assert half["device_hours"]["mid"] == pytest.approx(found["device_hours"]["mid"] / 2)
    assert half["dollars"] is None


def test_the_specs_devices_are_those_that_a_price_is_for(capsys):
    Path("spec.toml").write_text(TINY + '[devices]\nhardware = "a100"\ncount = 4\n')
    found = parsed(capsys, "sweep", "spec.toml", "--dry-run", "--price", "1")
    assert (found["hardware"], found["devices"], found["price_per_device_hour"]) == ("a100", 4, 1)
    assert found["runs"][0]["memory_bytes"] > 0
    assert parsed(capsys, "sweep", "spec.toml", "--dry-run")["device_hours"] is None


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--dry-run", "--price", "3"], "--price: needs --hardware too; add it, or leave --price out"),
        (["--price", "3", "--hardware", "h100"], "--hardware and --price: goes with --dry-run"),
        (["--json"], "--json: goes with --dry-run"),
        (["--dry-run", "--hardware", "h100", "--price", "-1"], "must be a positive, finite number"),
        (["--dry-run", "--hardware", "h1000"], "unknown hardware 'h1000'; did you mean 'h100'?"),
        (["--dry-run", "--hardware", "cpu", "--price", "1"], "has no known peak"),
        (["--dry-run", "--hardware", "h100", "--devices", "3"], "cannot be shared evenly by 3 devices"),
        (["--dry-run", "--hardware", "h100", "--utilisation", "36"], "must be above 0 and at most 1"),
    ],
)
def test_flags_that_do_not_go_together_are_one_line(capsys, flags, words):
    Path("spec.toml").write_text(TINY)
    told = refused(capsys, "sweep", "spec.toml", *flags)
    assert words in told
    assert len(told.splitlines()) == 1
