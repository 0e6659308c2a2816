"""`scalelaw simulate`: a table, a JSON object, mistakes named."""

from __future__ import annotations

import json

import pytest

from scalelaw import cli


@pytest.fixture
def spec(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(
        '[sweep]\nname = "small"\n[data]\nsource = "hierarchy"\ntrain_images = 4096\n[model]\n'
        'variants = ["N0", "N1", "N2", "N3"]\n[train]\nepochs = [0.5, 1, 2]\npeak_lr = [0.8, 1.6, 3.2]\n'
    )
    return str(path)


def run(*argv: str) -> int:
    with pytest.raises(SystemExit) as end:
        cli.main(["simulate", *argv])
    return end.value.code


def test_the_command_prints_a_table(capsys, spec):
    assert run(spec, "--draws", "2", "--size-noise", "0.01") == 0
    out, _ = capsys.readouterr()
    assert out.startswith("2 sweeps of 36 runs")
    for word in ("size_exponent", "rate_by_epochs", "loss_of_plan", "95 % covers", "truth: L = E + A N^-alpha"):
        assert word in out


def test_the_command_as_json(capsys, spec):
    assert run(spec, "--draws", "2", "--law", "repetition", "--set", "R_D=4", "--diverges", "inf", "--json") == 0
    out, err = capsys.readouterr()
    answer = json.loads(out)
    assert err == ""
    assert answer["truth"]["R_D"] == 4
    assert answer["draws"] == 2
    assert answer["world"]["diverges"] is None
    assert {"coverage", "bias", "answered", "truth"} <= set(answer["scores"][0])
    assert run(spec, "--draws", "2", "--law", "repetition", "--set", "R_D=4", "--diverges", "inf", "--json") == 0
    assert capsys.readouterr().out == out


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--set", "alpah=0.3"], "did you mean 'alpha'"),
        (["--set", "alpha"], "must be NAME=VALUE"),
        (["--set", "alpha=x"], "'x' is not a number"),
        (["--set", "alpha=.3", "--set", "alpha=.4"], "given twice"),
        (["--law", "kaplan", "--set", "Nc=1"], "kaplan needs Dc"),
        (["--law", "kaplan", "--size-exponent", "0.5"], "belongs to size-data, repetition and overfit"),
        (["--law", "power", "--set", "A=1", "--set", "alpha=.1"], "depends on C"),
        (["--draws", "0"], "draws = 0"),
        (["--seed", "-1"], "seed = -1"),
        (["--size-exponent", "2"], "between 0 and 1"),
        (["--bend", "-1"], "bend"),
        (["--rate", "inf"], "rate = inf must be positive and finite"),
        (["--set", "A=-3"], "has no best size"),
        (["--set", "E=inf"], "has no best size"),
    ],
)
def test_the_command_names_mistakes(capsys, spec, flags, said):
    assert run(spec, *flags) == 2
    assert said in capsys.readouterr().err
