"""Bad and awkward input: the right error or the right warning, never a silent number."""

import json
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from scalelaw import cli
from scalelaw.errors import UserError
from scalelaw.fitting import CATALOGUE, AbsoluteDeviation, Huber, LeastSquares, LowerEnvelope, fit
from scalelaw.laws import LAWS, OffsetPowerLaw, PowerLaw, SizeData, SumOfPowers

STATUSES = {"converged", "at_bound", "not_identified", "dead_term", "failed"}
SUMS = [law for law in LAWS.values() if issubclass(law, SumOfPowers)]
OTHERS = [law for law in LAWS.values() if not issubclass(law, SumOfPowers)]
TRUTH = SizeData(E=0.8, A=60.0, B=120.0, alpha=0.35, beta=0.4)
NO_SHRINK = (Phase.explicit, Phase.reuse, Phase.generate)  # shrinking fits of many runs takes minutes
magnitude = st.floats(-30, 30).map(lambda x: 10.0**x)


def runs(n=60, noise=0.01, seed=0):
    rng = np.random.default_rng(seed)
    N = np.exp(rng.uniform(np.log(1e5), np.log(1e7), n))
    D = np.exp(rng.uniform(np.log(1e4), np.log(3e5), n))
    return {"N": N, "D": D, "L": TRUTH.predict(N=N, D=D) * np.exp(noise * rng.standard_normal(n))}


def judged(law, data, **options):
    """A fit that says something: a status, plain JSON, named warnings, no number without a claim to it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = fit(law, **options, **data)
        record = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert found.status in STATUSES
    assert all(warning.name in CATALOGUE and warning.mend for warning in found.warnings)
    assert found.status == "converged" or found.warnings
    for name, value in found.params.items():
        low, high = record["interval"][name]
        if name in found.unidentified:
            assert found.stderr[name] is None
            assert low is None or high is None or high > low
        if low is not None and high is not None and record["params"][name] is not None and name not in found.fix:
            assert low - value <= 1e-9 * abs(value)
            assert value - high <= 1e-9 * abs(value)
    return found


def one_value(law, columns):
    """Whether some variable never varies, but for unique data, which may have one value."""
    return any(np.ptp(np.log(columns[letter])) < 1e-9 for letter in law.variables if letter != "U")


@settings(max_examples=40, deadline=None, phases=NO_SHRINK)
@given(
    data=st.data(),
    law=st.sampled_from(SUMS),
    objective=st.sampled_from([LeastSquares(), Huber(1e-2), AbsoluteDeviation(), LowerEnvelope()]),
    space=st.sampled_from(["log", "linear"]),
)
def test_any_positive_runs_get_an_honest_answer(data, law, objective, space):
    """Sixty orders of magnitude in every variable and in the loss."""
    n = data.draw(st.integers(len(law.names()), 12))
    columns = {letter: data.draw(st.lists(magnitude, min_size=n, max_size=n)) for letter in (*law.variables, "L")}
    if one_value(law, columns):
        with pytest.raises(UserError, match="share the value"):
            fit(law, **columns)
    else:
        judged(law, columns, objective=objective, space=space)


@settings(max_examples=8, deadline=None, phases=NO_SHRINK)
@given(data=st.data(), law=st.sampled_from(OTHERS))
def test_any_positive_runs_get_an_honest_answer_from_other_laws(data, law):
    n = data.draw(st.integers(len(law.names()), 12))
    narrow = st.floats(-3, 3).map(lambda x: 10.0**x)
    columns = {letter: data.draw(st.lists(narrow, min_size=n, max_size=n)) for letter in (*law.variables, "L")}
    if one_value(law, columns):
        with pytest.raises(UserError, match="share the value"):
            fit(law, **columns)
    else:
        judged(law, columns)


@settings(max_examples=30, deadline=None)
@given(
    row=st.integers(0, 59),
    letter=st.sampled_from(["N", "D", "L"]),
    value=st.sampled_from([float("nan"), float("inf"), -float("inf"), 0.0, -1.0, None, "many"]),
)
def test_a_value_that_is_no_positive_number_is_refused_with_its_row(row, letter, value):
    data = {name: values.astype(object) for name, values in runs().items()}
    data[letter][row] = value
    with pytest.raises(UserError, match=rf"{letter}: row {row + 1}\b"):
        fit(SizeData, **data)


def test_a_table_of_any_orders_of_magnitude_is_recovered():
    C = np.geomspace(1e-30, 1e30, 61)
    law = OffsetPowerLaw(E=3e-25, A=2e-24, alpha=0.05)
    found = judged(OffsetPowerLaw, {"C": C, "L": law.predict(C=C)})
    for name, value in law.params.items():
        assert found.params[name] == pytest.approx(value, rel=1e-6)


def names(found):
    return {warning.name for warning in found.warnings}


def test_one_size_is_refused_and_one_compute_is_said():
    data = runs()
    with pytest.raises(UserError, match="N: all 60 runs share the value"):
        fit(SizeData, **{**data, "N": np.full(60, 1e6)})
    with pytest.raises(UserError, match="C: all 3 runs share the value"):
        fit(PowerLaw, C=[2.0, 2.0, 2.0], L=[3.0, 2.0, 1.0])
    budget = {**data, "D": 1e11 / data["N"]}
    assert "one compute" in names(judged(SizeData, {**budget, "L": TRUTH.predict(N=budget["N"], D=budget["D"])}))


def test_duplicate_runs_are_said_and_seeds_are_not():
    data = runs()
    doubled = {letter: np.concatenate([values, values[:7]]) for letter, values in data.items()}
    found = judged(SizeData, doubled)
    assert "duplicate runs" in names(found)
    assert "7 of 67 rows" in str(found)
    again = {**doubled, "L": np.concatenate([data["L"], 1.01 * data["L"][:7]])}
    assert "duplicate runs" not in names(judged(SizeData, again))


def test_fewer_runs_than_parameters_are_refused_and_as_many_have_no_spread():
    data = runs()
    with pytest.raises(UserError, match="4 runs for 5 parameters; add runs or choose a law with fewer"):
        fit(SizeData, **{letter: values[:4] for letter, values in data.items()})
    found = judged(SizeData, {letter: values[:5] for letter, values in data.items()})
    assert "no spread" in names(found)
    assert set(found.stderr.values()) == {None}
    assert found.predict(N=1e6, D=1e5).low is None


def table(tmp_path, **changes):
    """Runs as a results table would have them."""
    data = runs()
    frame = pd.DataFrame({"params": data["N"], "images_seen": data["D"], "val_loss": data["L"]})
    frame["params"] = frame["params"].round().astype(int)
    for name, values in changes.items():
        frame[name] = values
    frame.to_parquet(tmp_path / "runs.parquet")
    return str(tmp_path / "runs.parquet")


def run(argv, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(argv)
    return stop.value.code, capsys.readouterr()


def test_unfinished_runs_are_left_out_and_counted(tmp_path, capsys):
    status = ["finished"] * 50 + ["diverged"] * 6 + ["failed"] * 4
    code, said = run(["fit", table(tmp_path, status=status), "--law", "size-data"], capsys)
    assert code == 0
    assert "note: left out: 6 diverged, 4 failed" in said.out
    assert "50 of 60 rows" in said.out
    code, said = run(["fit", table(tmp_path, status=status), "--law", "size-data", "--json"], capsys)
    answer = json.loads(said.out)
    assert answer["n"] == 50
    assert answer["notes"] == ["left out: 6 diverged, 4 failed"]


def test_mixed_compute_bases_are_said(tmp_path, capsys):
    changes = {"core_hours": np.geomspace(1, 1e3, 60), "core_hours_basis": ["measured"] * 40 + ["estimated"] * 20}
    code, said = run(["fit", table(tmp_path, **changes), "--law", "power"], capsys)
    assert code == 0
    assert "note: core_hours are measured in 40 runs and estimated in 20" in said.out


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--law", "L = E + A N^-a +"], "term 3 is empty"),
        (["--law", "L = A X^-a"], "no column 'X'"),
        (["--law", "size-data", "--fix", "E"], "NAME=VALUE"),
        (["--law", "size-data", "--fix", "E=1", "--fix", "E=2"], "given twice"),
        (["--law", "size-data", "--bound", "alpha=1"], "NAME=LOW:HIGH"),
        (["--law", "size-data", "--bound", "alpha=x:1"], "'x' is not a number"),
        (["--law", "size-data", "--delta", "2mad"], "belongs to --objective huber"),
        (["--law", "size-data", "--objective", "huber", "--delta", "xmad"], "'x' is not a number"),
        (["--law", "size-data", "--tau", "0.1"], "belongs to --objective lower-envelope"),
        (["--law", "size-data", "--objective", "lower-envelope", "--tau", "2"], "tau = 2.0"),
        (["--law", "size-data", "--weights", "weight"], "no column 'weight'"),
        (["--law", "size-data", "--quantity", "optimal_parms,C=1e20"], "did you mean 'optimal_params'"),
        (["--law", "size-data", "--quantity", "optimal_params"], "needs C"),
        (["--law", "size-data", "--quantity", "optimal_params,C=-1"], "positive"),
        (["--law", "power"], "no column 'train_flop'"),
    ],
)
def test_flags_that_make_no_sense_get_one_clear_line(tmp_path, capsys, flags, words):
    path = table(tmp_path)
    before = (tmp_path / "runs.parquet").read_bytes()
    code, said = run(["fit", path, *flags], capsys)
    assert code == 2
    assert words in said.err
    assert "Traceback" not in said.err
    assert said.out == ""
    assert (tmp_path / "runs.parquet").read_bytes() == before
