"""The approaches of Hoffmann et al. 2022 side by side, on equal-compute layouts of known truth and on public tables."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from isoflop_tables import runs, table, truth

from scalelaw.cli import main
from scalelaw.errors import UserError
from scalelaw.frontiers import frontier, surface
from scalelaw.frontiers.comparison import compare
from scalelaw.frontiers.trend import through
from scalelaw.laws import SizeData
from scalelaw.runs import RunTable

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def test_bare_tables_have_trends_of_data_and_no_epochs():
    law = truth(0.55)
    found = frontier(runs(table(law, noise=0.001)))
    assert found.unique_images is None
    assert found.data.quantity == "data"
    assert found.size.slope + found.data.slope == pytest.approx(1)
    for name in ("surface", "equal_compute"):
        assert found.approaches[name]["data"].predict(1e20).mid == pytest.approx(law.optimum(1e20, k=6)[1], rel=0.03)
    assert found.epochs.status == "failed"
    assert "data" in found.epochs.note
    assert all("epochs" not in trends for trends in found.approaches.values())
    answer = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert answer["epochs"]["params"] == {"A": None, "alpha": None}
    assert answer["data"]["params"]["alpha"] == pytest.approx(0.45, abs=0.02)
    assert {row["epochs"] for row in answer["points"]} == {None}
    assert "epochs" not in str(found).split("headline")[0]
    assert {"surface", "equal_compute", "parabola", "envelope"} == set(answer["approaches"])


def test_without_data_the_sizes_are_the_same():
    """C / N is k times the data: optimal sizes do not depend on k, the trend of data is in its unit."""
    law = truth(0.6)
    frame = table(law, noise=0.001)
    full = frontier(runs(frame))
    bare = frontier(RunTable.from_frame(frame.drop(columns="tokens"), columns={"N": "params", "C": "budget"}))
    for name in ("surface", "equal_compute", "parabola", "envelope"):
        one, other = (front.approaches[name]["size"] for front in (full, bare))
        assert other.slope == pytest.approx(one.slope, rel=1e-6), name
        assert other.predict(1e22).mid == pytest.approx(one.predict(1e22).mid, rel=1e-5), name
    assert bare.data.quantity == "train_flop / params"
    assert bare.data.predict(1e20).mid == pytest.approx(6 * full.data.predict(1e20).mid, rel=1e-5)
    assert any("no data" in note for note in bare.notes)


def test_compute_is_never_assumed_for_parameters():
    with pytest.raises(UserError, match=r"has no train_flop.*--column C="):
        frontier(RunTable.from_frame(table(truth(0.5)).drop(columns="budget"), columns={"N": "params", "D": "tokens"}))


def test_compute_of_multiply_adds_is_exact_and_needs_no_column():
    frame = table(truth(0.5)).rename(columns={"params": "macs_per_image", "tokens": "images_seen"})
    without = frontier(RunTable.from_frame(frame.drop(columns="budget")))
    assert without.size.slope == pytest.approx(frontier(RunTable.from_frame(frame, {"C": "budget"})).size.slope)


@pytest.mark.parametrize("factor", [1e-9, 1e9])
def test_units_change_no_exponent(factor):
    frame = table(truth(0.4), noise=0.002)
    scaled = frame.assign(params=frame["params"] * factor, tokens=frame["tokens"] / factor**2)
    one, other = frontier(runs(frame)), frontier(runs(scaled))
    for name in one.approaches:
        slopes = [front.approaches[name]["size"].slope for front in (one, other)]
        assert slopes[1] == pytest.approx(slopes[0], rel=1e-8), name


def test_the_surfaces_spread_is_the_delta_rule():
    """Closed-form derivatives of (ln N* at C = 1, exponent) against differences, in a covariance's coordinates."""
    law, unit = truth(0.6), np.log(1e17 / 6)
    theta = SizeData.encode(law.params)

    def optimum(theta):
        moved = SizeData.decode(theta)
        return np.array([moved.log_balance + moved.size_exponent * unit, moved.size_exponent])

    steps = 1e-6 * np.eye(len(theta))
    slopes = [(optimum(theta + step) - optimum(theta - step)) / 2e-6 for step in steps]
    assert surface._gradient(law, unit) == pytest.approx(np.stack(slopes, axis=1), rel=1e-6, abs=1e-8)


def test_agreement_and_disagreement_are_said_with_both_values():
    """A surface of one law and equal-compute minima of another: both values, both intervals, z; no average."""
    x = np.linspace(40, 48, 8)
    wiggle = 0.02 * np.array([1, -1, 1, -1, 1, -1, 1, -1.0])
    one, other, third = (through("params", "C", x, level + slope * x + wiggle)
                         for level, slope in ((0.0, 0.5), (0.0, 0.6), (3.0, 0.5)))  # fmt: skip
    lone = through("params", "C", x[:2], x[:2])
    apart, shifted = compare({"a": one, "b": other}, 1e21), compare({"a": one, "b": third}, 1e21)
    assert apart[0].disagree
    assert apart[0].z_exponent == pytest.approx(-0.1 / np.hypot(one.stderr["alpha"], other.stderr["alpha"]))
    assert abs(shifted[0].z_exponent) < 1e-6
    assert shifted[0].disagree
    assert compare({"a": one, "b": lone}, 1e21) == ()
    (same,) = compare({"a": one, "b": one}, 1e21)
    assert not same.disagree
    said = str(apart[0])
    assert "a and b disagree" in said
    for trend in (one, other):
        low, high = trend.interval["alpha"]
        assert f"C^{trend.slope:.3f} ({low:.3f} to {high:.3f})" in said
    answer = apart[0].to_dict()
    assert answer["exponent"] == [one.slope, other.slope]
    assert answer["size"][1] == pytest.approx(float(other.predict(1e21).mid))


def test_a_frontier_says_how_its_approaches_compare():
    found = frontier(runs(table(truth(0.7), noise=0.001)))
    pairs = {one.approaches: one for one in found.comparisons}
    assert len(pairs) >= 3
    honest, biased = pairs["surface", "equal_compute"], pairs["equal_compute", "parabola"]
    assert not honest.disagree
    assert biased.disagree  # the parabola's optimum is 15 % too small
    assert biased.z_size > 2
    said = str(found)
    assert "surface and equal_compute agree" in said
    assert "equal_compute and parabola disagree" in said


def test_the_command_reads_bare_tables(tmp_path, capsys):
    path = tmp_path / "runs.csv"
    table(truth(0.6), noise=0.001).rename(columns={"loss": "final loss"}).to_csv(path, index=False)
    pairs = ("N=params", "D=tokens", "C=budget", "loss=final loss")
    with pytest.raises(SystemExit) as left:
        main(["frontier", str(path), *(word for pair in pairs for word in ("--column", pair)), "--json"])
    answer = json.loads(capsys.readouterr().out)
    assert left.value.code == 0
    assert answer["size"]["params"]["alpha"] == pytest.approx(0.6, abs=0.02)
    assert answer["data"]["params"]["alpha"] == pytest.approx(0.4, abs=0.02)


def test_mixed_bases_of_compute_are_refused_unless_said():
    frame = table(truth(0.5)).assign(core_hours=lambda rows: rows["budget"] / 1e17)
    frame["core_hours_basis"] = np.where(np.arange(len(frame)) % 2, "measured", "estimated")
    with pytest.raises(UserError, match=r"estimated in 32 and measured in 31 runs.*--basis train_flop"):
        frontier(runs(frame))
    found = frontier(runs(frame), mixed=True)
    assert found.size.compute == "core_hours"
    assert any("2 different values of core_hours_basis" in note for note in found.notes)
    assert frontier(runs(frame), basis="train_flop").size.compute == "train_flop"


def isoflops(experiment):
    if not SHARED.is_dir():
        pytest.skip("the public tables are not here: no shared/data")
    frame = pd.read_csv(SHARED / "isoflops.csv")
    return frame[frame["experiment"] == experiment]


def test_llama_3_by_approach_2():
    """Parabolas of the raw loss in ln params, all ten budgets, an unweighted line: tokens = 0.299 C^0.537."""
    found = frontier(runs(isoflops("llama_3__raw_loss"))).approaches["parabola"]["data"]
    assert found.params["A"] == pytest.approx(0.299, abs=0.001)
    assert found.params["alpha"] == pytest.approx(0.537, abs=0.001)
    low, high = found.interval["alpha"]
    assert low < 0.53 < high  # as Meta published it


@pytest.mark.parametrize(
    "experiment",
    ["epochai_chinchilla__massivetext__chinchilla", "llama_3__exp_loss", "llama_3__raw_loss",
     "marin_202603__dclm__llama_2", "ml_scalefit__massivetext__chinchilla"],
)  # fmt: skip
def test_all_approaches_answer_on_public_isoflop_tables(experiment):
    found = frontier(runs(isoflops(experiment)))
    for name in ("surface", "equal_compute"):
        assert found.approaches[name]["size"].status == "converged"
    parabola = found.approaches["parabola"]["size"]
    surely = "epochai" not in experiment  # whose seven minima leave +-.07, which their scatter may understate
    assert parabola.status == ("converged" if surely else "not_identified")
    assert {("surface", "equal_compute"), ("equal_compute", "parabola")} <= {c.approaches for c in found.comparisons}
    assert found.bias is not None
    json.dumps(found.to_dict(), allow_nan=False)


def test_chinchillas_figure_without_tokens():
    """Points read off a figure, C and N alone: the approaches agree on a half once budgets are wide enough."""
    if not SHARED.is_dir():
        pytest.skip("the public tables are not here: no shared/data")
    frame = pd.read_csv(SHARED / "chinchilla_figure4.csv").sort_values("loss").iloc[:-5]
    found = frontier(RunTable.from_frame(frame, {"N": "Model Size", "C": "Training FLOP"}), equal_within=0.15)
    for name in ("surface", "equal_compute"):
        low, high = found.approaches[name]["size"].interval["alpha"]
        assert low < 0.5126 < high  # the published surface's exponent
    assert not found.comparisons[0].disagree
