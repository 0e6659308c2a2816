"""The commands as a machine and as a person sees them: one JSON object with the agreed keys, 80 columns, exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tiny_sweep import TINY, snapshot

from scalelaw import architecture, compute
from scalelaw.cli import main
from scalelaw.figures import FIGURES
from scalelaw.runs import Run, RunTable
from scalelaw.runs.folder import ResultsFolder

KEYS = {
    "fit": "law params stderr interval objective objective_value space points n status warnings",
    "frontier": "size epochs loss points",
    "predict": "variant params epochs images peak_lr core_hours train_flop loss loss_low loss_high"
    " extrapolation_factor status warnings",
    "variants": "utilisation resolution classes variants",
    "status": "finished running pending failed diverged core_hours_spent core_hours_left",
    "figures": "written skipped",
}
DATA = "hierarchy-12345678"


@pytest.fixture(autouse=True)
def inside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")


def said(capsys: pytest.CaptureFixture[str], *argv: Any, code: int = 0) -> str:
    """Runs a command that ends with `code`. Returns its standard output."""
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in argv])
    captured = capsys.readouterr()
    assert end.value.code == code, captured.err
    assert captured.err == ""
    return captured.out


def parsed(capsys: pytest.CaptureFixture[str], *argv: Any) -> dict[str, Any]:
    """The one JSON object that a command prints: strictly JSON, one line, nothing else."""
    out = said(capsys, *argv, "--json")
    assert out.count("\n") == 1

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    answer = json.loads(out, parse_constant=refuse)
    assert isinstance(answer, dict)
    missing = set(KEYS[argv[0]].split()) - set(answer)
    assert not missing
    return answer


def rows() -> list[Run]:
    """Made-up finished runs of five sizes, seven lengths and three rates, on L = 1 + 60 M^-.4 + 50 D^-.4."""
    noise = np.random.default_rng(0)
    found = []
    for name in ("N0", "N1", "N2", "N4", "N6"):
        size = architecture.size(architecture.variant(name), 8, 16)
        for epochs in (0.125, 0.25, 0.5, 1, 2, 4, 8):
            images = round(epochs * 32768)
            flop = compute.train_flop(size.macs_per_image, images)
            for rate in (0.6, 1.2, 2.4):
                loss = 1 + 60 * size.macs_per_image**-0.4 + 50 * images**-0.4 + 0.05 * np.log(rate / 1.1) ** 2
                found.append(Run(
                    run_id=f"{len(found):016x}", sweep="made", family="nfnet", variant=name, dataset=DATA,
                    status="finished", params=size.params, params_body=size.params_body, resolution=8,
                    macs_per_image=float(size.macs_per_image), unique_images=32768, epochs=epochs, images_seen=images,
                    batch_size=32, peak_lr=rate, seed=0, hardware="cpu", devices=1, train_seconds=1.0, train_flop=flop,
                    core_hours=compute.core_hours(flop), core_hours_basis="estimated", utilisation=0.36,
                    val_loss=float(loss * np.exp(1e-3 * noise.normal())), attempts=1, config="{}",
                ))  # fmt: skip
    return found


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    """A results folder of made-up runs, only read."""
    found = rows()
    root = tmp_path_factory.mktemp("results") / "made"
    folder = ResultsFolder(root, new=True)
    folder.begin({"name": "made", "utilisation": 0.36, "runs": [run.run_id for run in found]}, {})
    for run in found:
        folder.commit_row(run)
    folder.compact()
    return root


@pytest.mark.parametrize("law", ["power", "offset", "size-data"])
def test_fit_as_json(capsys, results, law):
    answer = parsed(capsys, "fit", results, "--law", law)
    assert answer["law"] == law
    assert set(answer["params"]) == set(answer["stderr"]) == set(answer["interval"])
    assert answer["points"] == ("best" if law == "size-data" else "envelope")
    if law == "size-data":
        assert answer["status"] == "converged"
        assert answer["params"]["alpha"] == pytest.approx(0.4, abs=0.05)
        assert answer["params"]["beta"] == pytest.approx(0.4, abs=0.05)
        low, high = answer["interval"]["alpha"]
        assert low < answer["params"]["alpha"] < high


def test_fit_for_a_person(capsys, results):
    out = said(capsys, "fit", results, "--law", "size-data", "--objective", "huber")
    assert "alpha" in out
    assert "N = macs_per_image" in out
    assert "points: best (35 of 105 rows)" in out
    assert max(map(len, out.splitlines())) <= 120


def test_a_table_of_ones_own_with_its_own_names(capsys, tmp_path):
    frame = pd.DataFrame({"Training FLOP": np.logspace(15, 20, 8), "Final": 3 * np.logspace(15, 20, 8) ** -0.1})
    frame.to_csv(tmp_path / "own.csv", index=False)
    answer = parsed(capsys, "fit", "own.csv", "--column", "C=Training FLOP", "--column", "loss=Final")
    assert answer["points"] == "all"
    assert answer["n"] == 8
    assert answer["params"]["alpha"] == pytest.approx(0.1, abs=1e-6)


def test_frontier_as_json(capsys, results):
    answer = parsed(capsys, "frontier", results)
    for part in ("size", "epochs", "loss"):
        assert {"params", "stderr", "interval", "status"} <= set(answer[part])
    assert answer["size"]["params"]["alpha"] == pytest.approx(0.5, abs=0.1)


def test_predict_as_json_and_its_limits(capsys, results):
    answer = parsed(capsys, "predict", results, "--times", 4)
    assert answer["extrapolation_factor"] == pytest.approx(4, rel=0.02)
    assert answer["loss_low"] < answer["loss"] < answer["loss_high"]
    assert answer["core_hours"] > 0
    with pytest.raises(SystemExit) as end:
        main(["predict", str(results), "--times", "1000"])
    refused = capsys.readouterr()
    assert end.value.code == 2
    assert len(refused.err.splitlines()) == 1
    assert "--far" in refused.err
    far = parsed(capsys, "predict", results, "--times", 1000, "--far")
    assert far["status"] == "far_extrapolation"


def test_figures_as_json(capsys, results):
    runs = RunTable.load(results)
    later = runs.where(runs.train_flop > 0.99 * runs.train_flop.max())
    later.write("later.parquet")
    answer = parsed(capsys, "figures", results, "-o", "drawn", "--outcomes", "later.parquet")
    skipped = [reason.partition(":")[0] for reason in answer["skipped"]]
    assert skipped == ["equal_compute"]  # these runs have no equal compute
    names = {Path(path).name for path in answer["written"]}
    left_out = {*skipped, "figure1", "error_vs_loss"}  # these are of fine-tuned runs
    assert names == {
        f"{figure}.{kind}" for figure in FIGURES if figure not in left_out for kind in ("pdf", "png", "json")
    }
    assert {path.name for path in Path("drawn").iterdir()} == names
    outcomes = json.loads(Path("drawn/prediction.json").read_text())["outcomes"]
    assert outcomes["val_loss"] == pytest.approx(later.val_loss.tolist(), rel=1e-5)


def test_variants_as_json_and_as_a_table(capsys):
    answer = parsed(capsys, "variants", "--resolution", 256)
    assert (answer["resolution"], answer["classes"], answer["utilisation"]) == (256, 1000, 0.36)
    listed = {row["variant"]: row for row in answer["variants"]}
    assert set(listed["F0"]) == {"variant", "params", "macs_per_image", "core_hours_per_1e9_images"}
    assert listed["F0"]["params"] == 71_489_284
    assert listed["F0"]["macs_per_image"] == pytest.approx(12.38e9, rel=1e-3)
    expected = 6 * listed["F0"]["macs_per_image"] * 1e9 / (0.36 * 137.5e12 * 3600)
    assert listed["F0"]["core_hours_per_1e9_images"] == pytest.approx(expected)
    out = said(capsys, "variants")
    assert "71,489,284" in out
    assert max(map(len, out.splitlines())) <= 80


def test_status_counts_every_word(capsys, tmp_path):
    folder = ResultsFolder(tmp_path / "some", new=True)
    ids = [f"{k:016x}" for k in range(7)]
    costs = dict.fromkeys(ids, 0.5)
    folder.begin({"name": "s", "utilisation": 0.36, "runs": ids, "core_hours": costs}, {run_id: {} for run_id in ids})
    for run_id, status in zip(ids, ("finished", "finished", "failed", "diverged"), strict=False):
        hours = None if status == "failed" else 0.25
        why = "long\nstory [of] it" if status == "failed" else None
        folder.commit_row(Run(run_id=run_id, status=status, core_hours=hours, error=why))
    with folder.lease(ids[4]):
        answer = parsed(capsys, "status", "some")
        promised = {"finished": 2, "running": 1, "pending": 2, "failed": 1, "diverged": 1,
                    "core_hours_spent": 0.75, "core_hours_left": 2.0}  # fmt: skip
        assert promised.items() <= answer.items()
        out = said(capsys, "status", "some", "--runs")
    assert max(map(len, out.splitlines())) <= 80
    words = [line.split() for line in out.splitlines()]
    assert ["finished", "2"] in words
    assert [ids[4], "running"] in words
    assert "story [of] it" in out
    assert "0.75 spent, 2 left" in out
    listed = parsed(capsys, "status", "some", "--runs")["runs"]
    assert listed[ids[6]] == "pending"


def test_a_dry_run_lists_runs_in_80_columns_and_writes_nothing(capsys, tmp_path):
    Path("spec.toml").write_text(TINY)
    before = snapshot(tmp_path)
    out = said(capsys, "sweep", "spec.toml", "--dry-run")
    assert snapshot(tmp_path) == before
    lines = out.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0] == "every run: batch 16, recipe pretrain"
    assert lines[1].split() == ["run", "variant", "epochs", "peak", "lr", "seed", "core-h", "here"]
    assert sum(len(line.split()) == 8 and line[:16].isalnum() for line in lines[2:10]) == 8
    assert "8 runs" in out
    assert "core-hours" in out
    assert "seconds" in out
    assert "with" in out


def test_a_sweep_does_not_mix_with_another_of_its_folder(capsys, tmp_path):
    Path("spec.toml").write_text(TINY)
    ResultsFolder(tmp_path / "out", new=True).begin({"name": "other", "utilisation": 0.36, "runs": []}, {})
    with pytest.raises(SystemExit) as end:
        main(["sweep", "spec.toml", "-o", "out"])
    assert end.value.code == 2
    assert "holds the sweep 'other', not 'tiny'" in capsys.readouterr().err


def test_init_writes_the_example_specs_and_leaves_what_is_there(capsys):
    Path("specs").mkdir()
    Path("specs/demo.toml").write_text("mine")
    out = said(capsys, "init", "specs")
    assert "demo.toml is there already" in out
    assert Path("specs/demo.toml").read_text() == "mine"
    said(capsys, "init", "fresh")
    assert "dry" not in said(capsys, "sweep", "fresh/demo.toml", "--dry-run")
    for figure in Path("fresh").glob("figure*.toml"):  # some extend others, and the paper's images are nobody's
        assert "core-hours" in said(capsys, "sweep", figure, "--dry-run")


def test_a_reader_that_goes_away_is_no_error(results):
    """`scalelaw ... | head -1`."""
    from tiny_sweep import start

    process = start("status", results, "--runs")
    process.stdout.close()
    process.wait(60)
    assert process.returncode == 0
    assert "Traceback" not in process.stderr.read()
    process.stderr.close()
