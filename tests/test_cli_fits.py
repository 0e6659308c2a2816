"""fit, choose and extrapolate on the command line say what the library says."""

import json

import numpy as np
import pandas as pd
import pytest

import scalelaw as sl
from scalelaw import cli

TRUTH = sl.laws.SizeData(E=0.8, A=60.0, B=120.0, alpha=0.35, beta=0.4)


def run(argv, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(argv)
    return stop.value.code, capsys.readouterr()


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    rng = np.random.default_rng(0)
    N = np.repeat(np.geomspace(1e5, 1e7, 10).round(), 8)
    D = np.tile(np.geomspace(1e4, 1e6, 8).round(), 10)
    L = TRUTH.predict(N=N, D=D) * np.exp(0.01 * rng.standard_normal(80))
    path = tmp_path_factory.mktemp("table") / "runs.csv"
    frame = pd.DataFrame({"N": N.astype(int), "D": D, "loss": L, "trust": rng.uniform(0.5, 2, 80), "depth": N**0.5})
    frame.to_csv(path, index=False)
    return str(path), frame


def same(answer, found):
    for name, value in found.params.items():
        assert answer["params"][name] == pytest.approx(value, rel=1e-12)
    assert answer["objective_value"] == pytest.approx(found.objective_value, rel=1e-12)
    assert answer["status"] == found.status


def test_every_flag_of_fit_reaches_the_fit(table, capsys):
    path, frame = table
    data = {"N": frame["N"], "D": frame["D"], "L": frame["loss"]}
    cases = {
        "--objective huber --delta 0.005": {"objective": sl.Huber(5e-3)},
        "--objective huber --delta 2mad": {"objective": sl.Huber(mad=2)},
        "--objective huber": {"objective": sl.Huber(1e-3)},
        "--objective lad --space linear": {"objective": sl.AbsoluteDeviation(), "space": "linear"},
        "--objective lower-envelope --tau 0.1": {"objective": sl.LowerEnvelope(0.1)},
        "--weights trust": {"weights": frame["trust"]},
        "--fix E=0.7 --bound alpha=0.1:0.3": {"fix": {"E": 0.7}, "bounds": {"alpha": (0.1, 0.3)}},
        "--bound beta=:0.38": {"bounds": {"beta": (None, 0.38)}},
    }
    for flags, options in cases.items():
        code, said = run(["fit", path, "--law", "size-data", "--json", *flags.split()], capsys)
        assert code == 0
        same(json.loads(said.out), sl.fit(sl.laws.SizeData, **options, **data))


def test_a_law_by_its_equation_in_columns_of_its_own(table, capsys):
    path, frame = table
    code, said = run(["fit", path, "--law", "L = E + A W^-a + B D^-b", "--column", "W=depth", "--json"], capsys)
    assert code == 0
    answer = json.loads(said.out)
    assert answer["columns"] == {"W": "depth", "D": "images_seen", "L": "val_loss"}
    law = sl.laws.sum_of_powers("L = E + A W^-a + B D^-b")
    same(answer, sl.fit(law, W=frame["depth"], D=frame["D"], L=frame["loss"]))


def test_quantities_come_with_their_interval(table, capsys):
    path, frame = table
    flags = ["--quantity", "optimal_params,C=1e13", "--quantity", "size_exponent"]
    code, said = run(["fit", path, "--law", "size-data", "--json", *flags], capsys)
    assert code == 0
    first, second = json.loads(said.out)["quantities"]
    found = sl.fit(sl.laws.SizeData, N=frame["N"], D=frame["D"], L=frame["loss"])
    assert first["value"] == pytest.approx(found.estimate("optimal_params", C=1e13))
    assert (first["low"], first["high"]) == pytest.approx(found.interval("optimal_params", C=1e13))
    assert first["low"] < TRUTH.optimal_params(1e13) < first["high"]
    assert second["low"] < TRUTH.size_exponent < second["high"]
    code, said = run(["fit", path, "--law", "size-data", *flags], capsys)
    assert "optimal_params, C = 1e+13: " in said.out


def test_standard_errors_under_each_unit_side_by_side(table, capsys):
    path, _ = table
    code, said = run(["fit", path, "--law", "size-data", "--units"], capsys)
    assert code == 0
    code, said_json = run(["fit", path, "--law", "size-data", "--units", "--json"], capsys)
    units = json.loads(said_json.out)["units"]
    for word in ("run", "size", "wild"):
        assert word in said.out
        assert word in json.dumps(units)


def test_seeds_give_a_noise_estimate_and_a_test_of_the_form(table, tmp_path, capsys):
    _, frame = table
    twice = pd.concat([frame, frame.assign(loss=frame["loss"] * 1.01)])
    twice.to_csv(tmp_path / "seeds.csv", index=False)
    code, said = run(["fit", str(tmp_path / "seeds.csv"), "--law", "size-data", "--json"], capsys)
    assert code == 0
    noise = json.loads(said.out)["noise"]
    assert noise["sd"] == pytest.approx(np.log(1.01) / 2**0.5, rel=1e-9)  # pairs: half their squared difference
    assert noise["dof"] == 80
    code, said = run(["fit", str(tmp_path / "seeds.csv"), "--law", "size-data"], capsys)
    assert "noise of a run: 0.00704" in said.out
    assert "lack of fit: F = " in said.out


def test_choose_tells_the_law_of_the_runs(table, capsys):
    path, _ = table
    argv = ["choose", path, "--law", "size-data", "--law", "L = A N^-a D^-b", "--factor", "10"]
    code, said = run([*argv, "--json"], capsys)
    assert code == 0
    answer = json.loads(said.out)
    assert [one["law"] for one in answer["candidates"]] == ["size-data", "sum"]
    assert answer["told"]
    assert answer["n"] == 80
    code, said = run(argv, capsys)
    assert "the best law is told apart" in said.out
    assert "N = params, D = images_seen, L = val_loss; points: all (80 of 80 rows)" in said.out
    code, said = run(["choose", path, "--law", "size-data"], capsys)
    assert code == 2
    assert "at least two laws" in said.err


def test_extrapolate_continues_a_curve(tmp_path, capsys):
    x = np.geomspace(1e3, 1e6, 40)
    pd.DataFrame({"steps": x, "loss": 0.5 + 3 * x**-0.3}).to_csv(tmp_path / "curve.csv", index=False)
    argv = ["extrapolate", str(tmp_path / "curve.csv"), "--x", "steps", "--y", "loss", "--to", "2e6", "--to", "4e6"]
    code, said = run([*argv, "--json"], capsys)
    assert code == 0
    answer = json.loads(said.out)
    band = sl.extrapolate(x, 0.5 + 3 * x**-0.3, [2e6, 4e6])
    assert answer["mid"] == pytest.approx(band.mid.tolist(), rel=1e-9)
    assert answer["low"][1] < 0.5 + 3 * 4e6**-0.3 < answer["high"][1]
    code, said = run(argv, capsys)
    assert "loss at steps = 2e+06" in said.out
    code, said = run([*argv[:2], "--x", "stps", "--y", "loss"], capsys)
    assert code == 2
    assert "did you mean 'steps'" in said.err


def test_the_help_names_every_law():
    from typing import get_args

    from scalelaw import laws
    from scalelaw.cli.words import LawWord

    said = get_args(LawWord)[1].help.split(";")[0].replace(" or ", ", ").split(", ")
    assert sorted(said) == sorted(laws.LAWS)
